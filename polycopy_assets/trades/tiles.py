"""Tiles: what the batches hold of a wallet, and which of its recorded trades they lack.

A tile says how many trades the batches hold in an interval, and their digest. Rows and digests add
up, so it does not matter how segments, batches or tiles are cut: two sides that have the same sums
between two common boundaries hold the same trades there.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from polycopy_assets.trades.digest import total
from polycopy_assets.trades.interval import BEGINNING, Interval, subtract
from polycopy_assets.trades.segment import Segment

_APART = 2**64
"""More rows than there are: what joining an uncertain tile with a certain one costs."""


class Tile(NamedTuple):
    """`rows` trades with start <= timestamp < until, and their digest; all are in the batches.

    `batch` is the earliest of the batches that they are in. Without a digest the tile is
    **uncertain**: a part of what it was has been replaced, and nothing says how many trades the
    rest has; `rows` is 0 then.
    """

    start: int
    until: int
    rows: int
    digest: int | None
    batch: int

    @property
    def span(self) -> Interval:
        """The interval."""
        return Interval(self.start, self.until)


class Lacked(NamedTuple):
    """What the batches lack of a record: its segments, and intervals that have to be empty."""

    segments: list[Segment]
    empty: list[Interval]


def placed(tiles: Iterable[Tile], claimed: Interval, new: Tile | None) -> list[Tile]:
    """The tiles, sorted, after everything in `claimed` was replaced by `new` (None: by nothing).

    What is left of a tile of which only a part was replaced is uncertain.
    """
    left: list[Tile] = []
    for tile in tiles:
        if tile.until <= claimed.start or claimed.until <= tile.start:
            left.append(tile)
            continue
        rest = subtract(tile.span, [claimed])
        left += [Tile(part.start, part.until, 0, None, tile.batch) for part in rest]
    return sorted([*left, new] if new else left)


def joined(tiles: Sequence[Tile], most: int) -> list[Tile]:
    """At most `most` tiles that say the same: neighbours with the fewest rows become one.

    An uncertain tile is joined with a certain one only if there is no other way.
    """
    left = list(tiles)
    costs = [_cost(one, other) for one, other in pairwise(left)]
    while len(left) > most:
        at = costs.index(min(costs))
        left[at : at + 2] = [_together(left[at], left[at + 1])]
        around = left[max(at - 1, 0) : at + 2]
        costs[max(at - 1, 0) : at + 2] = [_cost(one, other) for one, other in pairwise(around)]
    return left


def _cost(one: Tile, other: Tile) -> int:
    apart = (one.digest is None) != (other.digest is None)
    return one.rows + other.rows + apart * _APART


def _together(one: Tile, other: Tile) -> Tile:
    batch = min(one.batch, other.batch)
    if one.digest is None or other.digest is None:
        return Tile(one.start, other.until, 0, None, batch)
    digest = total((one.digest, other.digest))
    return Tile(one.start, other.until, one.rows + other.rows, digest, batch)


def digest_of(tiles: Iterable[Tile]) -> int | None:
    """The digest of all trades in the tiles; None if one of the tiles is uncertain."""
    digests = [tile.digest for tile in tiles]
    certain = [digest for digest in digests if digest is not None]
    return total(certain) if len(certain) == len(digests) else None


class _Stated(NamedTuple):
    """What a record says of an interval: its segment, or None where it is known to be empty."""

    span: Interval
    segment: Segment | None

    @property
    def rows(self) -> int:
        return self.segment.rows if self.segment else 0


def lacked(segments: Sequence[Segment], covered_until: int, tiles: Sequence[Tile]) -> Lacked:
    """What has to be combined so that the batches hold what a record says, and nothing else.

    The record names `segments`; what they do not cover before `covered_until` is empty. A segment
    without rows is needed only where the batches hold trades: its claim deletes them.
    """
    if _same(segments, tiles):
        return Lacked([], [])
    found = Lacked([], [])
    for stated, held in _cut(segments, covered_until, tiles):
        if _same([item.segment for item in stated if item.segment], held):
            continue
        for item in stated:
            if not item.rows and not any(_overlap(item.span, tile.span) for tile in held):
                continue
            if item.segment:
                found.segments.append(item.segment)
            else:
                found.empty.append(item.span)
    return found


def empty_intervals(segments: Iterable[Segment], covered_until: int) -> list[Interval]:
    """The intervals before `covered_until` that no segment claims: there are no trades in them."""
    if covered_until <= BEGINNING:
        return []
    return subtract(Interval(BEGINNING, covered_until), [item.claim for item in segments])


def _same(segments: Iterable[Segment], tiles: Sequence[Tile]) -> bool:
    """Whether both have as many rows, with the same digest."""
    rows, shares = 0, []
    for item in segments:
        rows += item.rows
        shares.append(item.share)
    return sum(tile.rows for tile in tiles) == rows and digest_of(tiles) == total(shares)


def _cut(
    segments: Iterable[Segment], covered_until: int, tiles: Iterable[Tile]
) -> Iterator[tuple[list[_Stated], list[Tile]]]:
    """What a record says and the tiles, cut where neither has anything on both sides.

    Tiles after `covered_until` are left out: the record says nothing about that time.
    """
    segments = list(segments)
    gaps = empty_intervals(segments, covered_until)
    every: list[tuple[Interval, _Stated | Tile]] = [
        *((item.claim, _Stated(item.claim, item)) for item in segments),
        *((gap, _Stated(gap, None)) for gap in gaps),
        *((tile.span, tile) for tile in tiles),
    ]
    stated: list[_Stated] = []
    held: list[Tile] = []
    end = BEGINNING
    for span, item in sorted(every, key=lambda each: each[0]):
        if span.start >= end:
            if stated:
                yield stated, held
            stated, held = [], []
        if isinstance(item, Tile):
            held.append(item)
        else:
            stated.append(item)
        end = max(end, span.until)
    if stated:
        yield stated, held


def _overlap(one: Interval, other: Interval) -> bool:
    return one.start < other.until and other.start < one.until
