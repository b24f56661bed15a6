"""The files of a batch: recorded segments read, and written as typed, sorted Parquet.

Segments are read in blocks of lines, so memory is bounded whatever the size of a segment, a wallet
or the batch. One thread reads and unpacks, one decodes, one sorts and writes.
"""

import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

import polars as pl

from polycopy_assets.batches.read_ahead import read_ahead
from polycopy_assets.errors import ContractBroken, ObjectLost, ObjectUnreadable
from polycopy_assets.feeds.base import Feed
from polycopy_assets.settings.memory import DEFAULT_MEMORY
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.reading import Readable, Readings
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Claim, Part, claim
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.payload import BLOCK_BYTES, Reader, unpack, within
from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.shapes import ServedRow

_READERS = 8
_WAITING = 64
"""Segments that are read ahead of the one being decoded, if they are small."""

_BLOCKS = 8
"""Blocks of lines that are unpacked ahead of the one being decoded."""

OWN = (ObjectLost, ObjectUnreadable)
"""Errors of one object, which say nothing about others."""


class Sizes(NamedTuple):
    """How much is held at a time, in bytes.

    `part`: lines that become one Parquet file; 715 bytes a trade are usual. `ahead`: segments, as
    stored, that are read ahead; a larger one is read alone.
    """

    part: int
    ahead: int

    @classmethod
    def of(cls, memory: int) -> "Sizes":
        """The sizes for a process that may use `memory` MB."""
        return cls(part=memory * 2**20 // 16, ahead=memory * 2**20 // 16)


class _Block(NamedTuple):
    """Lines of the segment of `claim`, and whether they are its last."""

    claim: Claim
    reader: Reader
    lines: bytes
    last: bool


class _Read(NamedTuple):
    """Rows of whole seconds that `source` served, and the bytes of their lines."""

    source: str
    rows: list[ServedRow]
    size: int


class _Columns(NamedTuple):
    """Rows of whole seconds that `source` served, as columns."""

    source: str
    frame: pl.DataFrame


def write_parts(
    store: FeedStore, claims: Sequence[Claim], attempt: str, memory: int = DEFAULT_MEMORY
) -> list[Part]:
    """Writes the rows of `claims` as parts below `attempt`, in the order of the claims.

    Raises ObjectLost if a segment is not what was recorded, and what the store raises.
    """
    sizes = Sizes.of(memory)
    # Rows are served newest first. With the last claim first, all rows are in descending order, and
    # only have to be reversed.
    filled = [item for item in reversed(claims) if item.rows]
    readings = Readings(store)
    parts: list[Part] = []
    writing: Future[Part] | None = None
    with (
        read_ahead(lambda: _blocks(readings, filled, sizes.ahead, store.feed), _BLOCKS) as blocks,
        ThreadPoolExecutor(1, thread_name_prefix="write") as writer,
    ):
        for number, pieces in enumerate(_pieces(_rows(blocks), sizes.part, store.feed)):
            if writing:
                parts.append(writing.result())
            writing = writer.submit(_write, store, pieces, f"{attempt}/part-{number:05d}.parquet")
        if writing:
            parts.append(writing.result())
    return parts[::-1]


def _write(store: FeedStore, pieces: list[_Columns], name: str) -> Part:
    rows = _as_table(pieces, store.feed)
    return write_part(store, store.feed.frame().part_rows(rows), name)


def write_part(store: FeedStore, frame: pl.DataFrame, name: str) -> Part:
    """Writes `frame` as the object `name`."""
    file = io.BytesIO()
    # Level 1: half of a part are hashes, which no level makes smaller.
    frame.write_parquet(file, compression="zstd", compression_level=1)
    data = file.getvalue()
    store.create(name, data, {"rows": str(len(frame))})
    return Part(name=name, rows=len(frame), size=len(data), crc32c=crc32c(data))


def check_claim(readings: Readings, item: Claim, feed: Feed) -> None:
    """Raises whatever stands in the way of combining `item` of `feed`, even on its own."""
    part = Sizes.of(DEFAULT_MEMORY).part
    for pieces in _pieces(_rows(_unpacked(readings, item, feed)), part, feed):
        _as_table(pieces, feed)


def unreadable(
    readings: Readings, segments: Iterable[Segment], feed: Feed
) -> Iterator[tuple[str, str]]:
    """(name, reason) of each recorded segment of `feed` that cannot be combined; reads all."""
    for segment in segments:
        try:
            for _ in _rows(_unpacked(readings, claim(segment, ""), feed)):
                pass
        except OWN as error:
            yield segment.name, error.why


def _blocks(
    readings: Readings, claims: Iterable[Claim], ahead: int, feed: Feed
) -> Iterator[_Block]:
    """The blocks of all claims, in their order."""
    waiting: deque[tuple[Claim, Future[bytes]]] = deque()
    size = 0
    with ThreadPoolExecutor(_READERS, thread_name_prefix="read") as readers:
        for item in (*claims, None):
            while waiting and (
                item is None or len(waiting) == _WAITING or size + item.size > ahead
            ):
                first, reading = waiting.popleft()
                yield from _blocks_of(first, reading.result(), feed)
                size -= first.size
            if item is not None:
                waiting.append((item, readers.submit(_checked, readings, item)))
                size += item.size


def _unpacked(readings: Readable, item: Claim, feed: Feed) -> Iterator[_Block]:
    return _blocks_of(item, _checked(readings, item), feed)


def _checked(store: Readable, item: Claim) -> bytes:
    """The segment's bytes; raises ObjectLost if they are not what was recorded."""
    data = store.read(item.segment)
    if crc32c(data) != item.crc32c:
        raise ObjectLost(item.segment, "is not what was recorded: its checksum differs")
    return data


def _blocks_of(item: Claim, data: bytes, feed: Feed) -> Iterator[_Block]:
    named = feed.names.parse_segment(item.segment)
    if named is None or named[0] != item.wallet:
        raise ObjectLost(item.segment, f"is not a segment of {item.wallet}")
    reader = Reader(data, item.wallet, named[1], feed.shapes, item.source)
    before = b""
    try:
        for lines in unpack(data):
            if before:
                yield _Block(item, reader, before, last=False)
            before = lines
    except ContractBroken as error:
        raise ObjectLost(item.segment, f"cannot be read: {error}") from error
    yield _Block(item, reader, before, last=True)


def _rows(blocks: Iterable[_Block]) -> Iterator[_Read]:
    """The rows that the claims stand for; the rows of one second are never apart.

    Raises ObjectLost if a segment has not the rows that were recorded.
    """
    split: list[ServedRow] = []
    count = size = 0
    for block in blocks:
        item = block.claim
        try:
            read = block.reader.rows(block.lines) if block.lines else []
        except ContractBroken as error:
            raise ObjectLost(item.segment, f"cannot be read: {error}") from error
        rows = split + _claimed(read, item)
        count += len(rows) - len(split)
        size += len(block.lines)
        split = []
        if block.last and count != item.rows:
            raise ObjectLost(
                item.segment, f"has {counted(count, 'row')}, its record says {item.rows}"
            )
        if block.last:
            count = 0
        elif rows:
            whole = _end_of_second(rows)
            rows, split = rows[:whole], rows[whole:]
        if rows and block.reader.source:
            yield _Read(block.reader.source, rows, size)
            size = 0
        # The next rows take the place of these, which is still in the processor's cache.
        read, rows = [], []


def _claimed(rows: list[ServedRow], item: Claim) -> list[ServedRow]:
    """The rows inside the claim, of rows that are newest first."""
    if not rows or (item.start <= rows[-1].timestamp and rows[0].timestamp < item.until):
        return rows
    return list(within(rows, Interval(item.start, item.until)))


def _end_of_second(rows: list[ServedRow]) -> int:
    """How many rows are newer than the oldest second, which may go on in the next block."""
    oldest = rows[-1].timestamp
    end = len(rows)
    while end and rows[end - 1].timestamp == oldest:
        end -= 1
    return end


def _pieces(read: Iterable[_Read], part: int, feed: Feed) -> Iterator[list[_Columns]]:
    """The rows as columns, in pieces that make one part each: about `part` bytes of lines.

    Small segments are put together first: a frame for each of thousands would take ten times as
    long.
    """
    frame, shapes = feed.frame(), feed.shapes
    pieces: list[_Columns] = []
    rows: list[ServedRow] = []
    source = ""
    size = block = 0
    for item in read:
        if rows and item.source != source:
            pieces.append(_Columns(source, frame.columns_of(shapes, source, rows)))
            rows, block = [], 0
        source = item.source
        rows += item.rows
        block += item.size
        size += item.size
        item.rows.clear()
        if block >= BLOCK_BYTES // 2 or size >= part:
            pieces.append(_Columns(source, frame.columns_of(shapes, source, rows)))
            rows, block = [], 0
        if size >= part:
            yield pieces
            pieces, size = [], 0
    if rows:
        pieces.append(_Columns(source, frame.columns_of(shapes, source, rows)))
    if pieces:
        yield pieces


def _as_table(pieces: list[_Columns], feed: Feed) -> pl.DataFrame:
    """Rows as served as rows of the feed's table; empties the list."""
    frame = feed.frame()
    served = [
        frame.served_frame(source, pl.concat([item.frame for item in items]))
        for source, items in groupby(pieces, key=lambda item: item.source)
    ]
    pieces.clear()
    return frame.table_rows(pl.concat(served))
