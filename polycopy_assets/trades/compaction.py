"""Which neighbouring segments of a wallet to unite, so that it has few whatever its age.

A wallet that gets a small segment a day is left alone until it has more than `MOST`. Then up to
`WINDOW` neighbours of about the same size become one, and later up to `WINDOW` of those: tiers, as
in a log-structured merge tree. So each row is rewritten a logarithmic number of times, and many
refreshes in a row rewrite nothing.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, Self

from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.shapes import CHECKPOINT

MOST = 16
"""A wallet has at most this many segments, and those of its latest fetch.

More if those of `UNION_BYTES` are more.
"""

WINDOW = 8
"""The most neighbours that become one in one step, and the ratio of the sizes of two tiers."""

UNION_BYTES = 64 * 2**20
"""The most compressed bytes that are united: a damaged segment costs as much to fetch again."""

_GROWTH = 2
"""A union has at least this many times the rows of its largest piece, if there is such a union.

Otherwise a large segment would be rewritten again and again, each time for a few new rows.
"""


class _Piece(NamedTuple):
    """Segments `first` to before `end`, to be one: their weight in rows, and compressed bytes.

    Rows and not bytes make the tiers, because the sum of rows does not depend on how well a union
    compresses: a union of `WINDOW` equal pieces is always in the next tier. A segment without rows
    weighs as much as one with one row.
    """

    first: int
    end: int
    weight: int
    size: int

    def joined(self, other: Self) -> "_Piece":
        """Both, the `other` being the next one."""
        return _Piece(self.first, other.end, self.weight + other.weight, self.size + other.size)


class _Window(NamedTuple):
    """So many `pieces` from number `start` on; the smaller in this order, the better to unite.

    First those that do not rewrite a large piece for small ones, then full windows, then the
    smallest tier, then the longest, then the oldest.
    """

    wasteful: bool
    partial: bool
    tier: int
    fewer: int
    start: int
    pieces: int


def unions(segments: Sequence[Segment], most: int = MOST) -> list[tuple[Segment, ...]]:
    """The runs of neighbours to unite; none if there are at most `most` segments.

    `segments` are those that count, oldest first. What is united touches, counts in full, and was
    served by one source; `UNION_BYTES` limit it. A segment without rows joins any neighbours with
    rows. The old job's segments stay as they are.
    """
    runs = [
        [_Piece(n, n + 1, max(segments[n].rows, 1), segments[n].size) for n in range(first, end)]
        for first, end in _runs(segments)
    ]
    surplus = len(segments) - most
    while surplus > 0:
        before = surplus
        runs, surplus = _round(runs, surplus)
        if surplus == before:
            break
    united = (piece for run in runs for piece in run if piece.end - piece.first > 1)
    return [tuple(segments[piece.first : piece.end]) for piece in united]


def _runs(segments: Sequence[Segment]) -> Iterator[tuple[int, int]]:
    """(first, end) of the longest runs of segments that could all be one."""
    first = 0
    source: str | None = None
    rows = False
    for number, segment in enumerate(segments):
        before = segments[number - 1] if number > first else None
        if before and not (
            _can_be_united(before)
            and _can_be_united(segment)
            and before.until == segment.start
            and (not rows or not segment.rows or segment.source == source)
        ):
            yield first, number
            first, rows = number, False
        if segment.rows:
            source, rows = segment.source, True
    yield first, len(segments)


def _can_be_united(segment: Segment) -> bool:
    """Whether the segment counts in full, and is not from the old job."""
    return segment.claim == segment.span and segment.source != CHECKPOINT


def _round(runs: list[list[_Piece]], surplus: int) -> tuple[list[list[_Piece]], int]:
    """The best windows that do not overlap, each as one piece; and how many pieces too many stay.

    Only windows of the best window's tier: what becomes of them may be better than the others.
    """
    found = sorted((window, run) for run, pieces in enumerate(runs) for window in _windows(pieces))
    taken: list[dict[int, int]] = [{} for _ in runs]
    used: list[set[int]] = [set() for _ in runs]
    for window, run in found:
        numbers = range(window.start, window.start + window.pieces)
        if surplus <= 0 or window[:3] != found[0][0][:3]:
            break
        if used[run].isdisjoint(numbers):
            used[run].update(numbers)
            taken[run][window.start] = window.pieces
            surplus -= window.pieces - 1
    return [_joined(*each) for each in zip(runs, taken, strict=True)], surplus


def _windows(pieces: Sequence[_Piece]) -> Iterator[_Window]:
    for start in range(len(pieces) - 1):
        around = pieces[start : start + WINDOW]
        largest = around[0].weight
        for count, whole in enumerate(accumulate(around, _Piece.joined), 1):
            if whole.size > UNION_BYTES:
                break
            largest = max(largest, around[count - 1].weight)
            if count > 1:
                yield _Window(
                    wasteful=whole.weight < _GROWTH * largest,
                    partial=count < WINDOW,
                    tier=_tier(largest),
                    fewer=-count,
                    start=start,
                    pieces=count,
                )


def _tier(weight: int) -> int:
    """How often `weight` can be divided by `WINDOW`."""
    return (weight.bit_length() - 1) // (WINDOW.bit_length() - 1)


def _joined(pieces: Sequence[_Piece], taken: dict[int, int]) -> list[_Piece]:
    joined: list[_Piece] = []
    number = 0
    while number < len(pieces):
        count = taken.get(number, 1)
        *_, whole = accumulate(pieces[number : number + count], _Piece.joined)
        joined.append(whole)
        number += count
    return joined
