"""The old job's files: inspected, and turned into segments. The files are never changed.

A whale's file does not fit into memory: only the second and the position of each line are kept.
"""

import mmap
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import polars as pl

from polycopy_assets.errors import ContractBroken, ObjectExists, StoreError
from polycopy_assets.fetch.segment_reader import read_segment
from polycopy_assets.ledger.evidence import Believed
from polycopy_assets.ledger.facts import OldFile
from polycopy_assets.migration.old_job import BOM, as_row, cut, read_line
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted
from polycopy_assets.trades.cutter import SEGMENT_BYTES, Draft
from polycopy_assets.trades.interval import (
    BEGINNING,
    Interval,
    disjoint,
    leading,
    subtract,
)
from polycopy_assets.trades.page import Row
from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.shapes import CHECKPOINT


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet's segments from the beginning without a gap, those of the old file among them.

    `rows` counts the old file's rows; `newer` counts its newer trades and newer stored segments: if
    there are any, the wallet has to be fetched.
    """

    wallet: str
    segments: tuple[Segment, ...]
    rows: int
    newer: int


def inspect(store: FeedStore, file: OldFile, wallet: str) -> OldFile:
    """The same file, read: how many trades of `wallet` it has, or what is wrong with it."""
    with store.local(file.name) as path:
        try:
            lines = _lines(path, wallet)
        except ContractBroken as error:
            return msgspec.structs.replace(file, rows=0, problem=str(error))
    last = lines["second"].max()
    return msgspec.structs.replace(
        file, rows=len(lines), last=last if isinstance(last, int) else None
    )


def adopt(
    store: FeedStore,
    wallet: str,
    believed: Believed,
    stored: Sequence[Interval],
    segment_bytes: int = SEGMENT_BYTES,
) -> Adopted:
    """Stores what the old file has before `believed.until` and the store lacks.

    Raises ContractBroken if the file has changed since it was believed.
    """
    described: dict[Interval, Segment] = {}
    with store.local(believed.file.name) as path:
        lines = _lines(path, wallet)
        if len(lines) != believed.file.rows:
            raise ContractBroken(
                f"{believed.file.name} has changed: {counted(len(lines), 'row')} now"
            )
        for gap in reversed(subtract(Interval(BEGINNING, believed.until), stored)):
            for draft in cut(_rows(path, lines, gap, wallet), gap, segment_bytes):
                described |= _write(store, wallet, draft)
    spans = [*stored, *described]
    until = leading(spans)
    return Adopted(
        wallet=wallet,
        segments=tuple(
            described[span]
            if span in described and claim == span
            else read_segment(store, wallet, span, claim)
            for span, claim in disjoint(spans)
            if span.until <= until
        ),
        rows=sum(segment.rows for segment in described.values()),
        newer=sum(span.until > until for span in spans) + _newer(lines, until),
    )


def count_newer(store: FeedStore, file: OldFile, wallet: str, until: int) -> int:
    """How many trades the old file has at `until` or later; 0 if it cannot be believed."""
    with store.local(file.name) as path:
        try:
            return _newer(_lines(path, wallet), until)
        except ContractBroken:
            return 0


def _newer(lines: pl.DataFrame, until: int) -> int:
    return int((lines["second"] >= until).sum())


def _write(store: FeedStore, wallet: str, draft: Draft) -> dict[Interval, Segment]:
    name = store.names.segment(wallet, draft.span)
    try:
        store.create(name, draft.payload, {"rows": str(draft.rows), "source": CHECKPOINT})
    except ObjectExists:
        return {draft.span: read_segment(store, wallet, draft.span, draft.span)}
    folder = store.names.segments
    segment = Segment.of_draft(wallet, draft, CHECKPOINT, crc32c(draft.payload), folder=folder)
    return {draft.span: segment}


def _lines(path: Path, wallet: str) -> pl.DataFrame:
    """Second, offset and length of every line that is not blank, in the file's order.

    Raises ContractBroken naming the first line that is not a trade of `wallet`; for a transaction
    with two times; and for an order that occurs twice, because the old job kept one line per order.
    """
    seconds, offsets, lengths = array("q"), array("q"), array("q")
    transactions, orders = array("q"), array("q")
    with _opened(path) as file:
        offset = len(BOM) if file.read(len(BOM)) == BOM else 0
        file.seek(offset)
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    second, trade = read_line(line, wallet)
                except ContractBroken as error:
                    raise ContractBroken(f"line {number} is {error}") from error
                seconds.append(second)
                offsets.append(offset)
                lengths.append(len(line))
                transactions.append(hash(trade.tx_hash.lower()))
                orders.append(hash(trade.order.lower()) if trade.order else 0)
            offset += len(line)
    columns = {
        "second": seconds,
        "offset": offsets,
        "length": lengths,
        "transaction": transactions,
        "order": orders,
    }
    lines = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Int64))
    if (lines.group_by("transaction").agg(pl.col("second").n_unique())["second"] > 1).any():
        raise ContractBroken("a transaction has fills at two times")
    repeated = lines.filter((pl.col("order") != 0) & ~pl.col("order").is_first_distinct())
    if len(repeated):
        raise ContractBroken(f"the line at byte {repeated['offset'][0]} repeats an order")
    return lines.drop("transaction", "order")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error


def _rows(path: Path, lines: pl.DataFrame, span: Interval, wallet: str) -> Iterator[Row]:
    """The rows of the file within `span`, newest first."""
    within = lines.filter(pl.col("second").is_between(span.start, span.until - 1)).sort(
        "second", descending=True, maintain_order=True
    )
    if within.is_empty():
        return
    with _opened(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for offset, length in within.select("offset", "length").iter_rows():
            yield as_row(content[offset : offset + length], wallet)
