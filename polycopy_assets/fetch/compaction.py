"""Compacts the segments of a wallet: neighbours become one, with the same rows.

The order makes it safe to be killed anywhere. The union is durable before the record names it, and
the pieces are deleted after that (`pipeline.leftovers`). Until then both are there, and the record
says which of them count. What a kill leaves over is covered by what is recorded: the next fetch of
the wallet removes it.
"""

import asyncio
import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

import google_crc32c

from polycopy_assets.errors import ContractBroken, ObjectLost, PolycopyError, Stopped
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted
from polycopy_assets.trades.compaction import unions
from polycopy_assets.trades.digest import as_text, total
from polycopy_assets.trades.interval import Interval, subtract
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.payload import Packer, lines_in, source_of
from polycopy_assets.trades.segment import Segment

PACKED_BYTES = 8 * 2**20
"""Up to this many compressed bytes are packed again, as one gzip member.

That makes small pieces much smaller. More are copied, member after member, through a file.
"""

_AT_ONCE_BYTES = 2**20
"""Unions of more compressed bytes are written one at a time, so that memory stays bounded."""

_LOG = logging.getLogger(__name__)


async def compacted(
    store: FeedStore,
    segments: Sequence[Segment],
    one_at_a_time: AbstractAsyncContextManager[object],
) -> tuple[Segment, ...]:
    """`segments` of one wallet, oldest first, with unions instead of their pieces.

    The unions are durable; the pieces are still there. Pieces that cannot be united stay as they
    are, which is logged: all trades are safe, so it is not a failure of the wallet. What is wrong
    with such a piece is found when it is combined, or by a reconciliation.
    """
    planned = await asyncio.to_thread(unions, segments)
    instead: dict[Segment, Segment | None] = {}
    for pieces in planned:
        large = sum(piece.size for piece in pieces) > _AT_ONCE_BYTES
        async with one_at_a_time if large else nullcontext():
            try:
                union = await asyncio.to_thread(unite, store, pieces)
            except Stopped:
                raise
            except (PolycopyError, OSError) as error:  # OSError: of the scratch file
                _LOG.warning(
                    "%s: %d segments were not united: %s", pieces[0].wallet, len(pieces), error
                )
                continue
        instead |= dict.fromkeys(pieces) | {pieces[0]: union}
    replaced = (instead.get(segment, segment) for segment in segments)
    return tuple(segment for segment in replaced if segment is not None)


def left_over(names: Names, stored: Collection[str], segments: Sequence[Segment]) -> frozenset[str]:
    """Those of the names `stored` that do not count, because `segments` cover all that they do."""
    counting = {segment.name for segment in segments}
    covered = [segment.claim for segment in segments]
    return frozenset(
        name
        for name in stored
        if name not in counting
        and (named := names.parse_segment(name))
        and not subtract(named[1], covered)
    )


def unite(store: FeedStore, pieces: Sequence[Segment]) -> Segment:
    """Writes the union of `pieces`, which touch, oldest first; its rows are theirs, newest first.

    Raises PolycopyError, and writes nothing, if a piece is not what its record says, or if the
    union's name is taken by something else.
    """
    span = Interval(pieces[0].start, pieces[-1].until)
    name = store.names.segment(pieces[0].wallet, span)
    rows = sum(piece.rows for piece in pieces)
    newest_first = [piece for piece in reversed(pieces) if piece.rows] or [pieces[-1]]
    source = _source(store, newest_first)
    metadata = {"rows": str(rows), "source": source}
    if sum(piece.size for piece in newest_first) <= PACKED_BYTES:
        data = _packed(store, newest_first, source)
        store.create(name, data, metadata)
        size, checksum = len(data), crc32c(data)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "union.gz"
            size, checksum = _copied(store, newest_first, path)
            store.create_from(name, path, metadata)
    return Segment(
        folder=store.names.segments,
        wallet=pieces[0].wallet,
        start=span.start,
        until=span.until,
        rows=rows,
        size=size,
        crc32c=checksum,
        first=min((piece.first for piece in pieces if piece.first is not None), default=None),
        last=max((piece.last for piece in pieces if piece.last is not None), default=None),
        source=source,
        # The sum of the shares, also of pieces that were never hashed: the version must not change.
        digest=as_text(total(piece.share for piece in pieces)) if rows else None,
    )


def _source(store: FeedStore, pieces: Sequence[Segment]) -> str:
    """The one source of all rows, which a record of an older version may not name."""
    shapes = store.feed.shapes
    named = {piece.source or source_of(_read(store, piece), shapes) for piece in pieces}
    if len(named) > 1:
        raise ContractBroken(f"they were served by different sources: {', '.join(sorted(named))}")
    return named.pop()


def _packed(store: FeedStore, newest_first: Sequence[Segment], source: str) -> bytes:
    packer = Packer(source)
    for piece in newest_first:
        for lines in _checked(piece, _read(store, piece)):
            packer.add(lines)
    return packer.finish()


def _copied(store: FeedStore, newest_first: Sequence[Segment], path: Path) -> tuple[int, str]:
    """Writes the pieces to `path`, one after another; returns size and checksum."""
    size, checksum = 0, google_crc32c.Checksum()
    with path.open("wb") as file:
        for piece in newest_first:
            data = _read(store, piece)
            if piece.digest is None:  # an older version wrote it, which did not hash its lines
                for _ in _checked(piece, data):
                    pass
            file.write(data)
            checksum.update(data)
            size += len(data)
    return size, checksum.hexdigest().decode()


def _read(store: FeedStore, piece: Segment) -> bytes:
    """The piece's bytes; raises ObjectLost if they are not what was recorded."""
    data = store.read(piece.name)
    if len(data) != piece.size or crc32c(data) != piece.crc32c:
        raise ObjectLost(piece.name, "is not what was recorded: its size or checksum differs")
    return data


def _checked(piece: Segment, payload: bytes) -> Iterator[bytes]:
    """The lines of a piece; raises ObjectLost if they are not its rows, each with its line break.

    Without the last line break, the next piece's first row would become part of its last one.
    """
    breaks, end = 0, b"\n"
    try:
        for lines in lines_in(payload):
            breaks += lines.count(b"\n")
            end = lines[-1:] or end
            yield lines
    except ContractBroken as error:
        raise ObjectLost(piece.name, f"is damaged: {error}") from error
    if end != b"\n" or breaks != piece.rows:
        raise ObjectLost(
            piece.name,
            f"has {counted(breaks, 'line')}, its record says {counted(piece.rows, 'row')}",
        )
