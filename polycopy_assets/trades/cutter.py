"""Cuts a stream of rows, newest first, into segments that never split a second."""

import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import accumulate, chain, compress
from operator import ne

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.trades.digest import of_seconds, total
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Row, Rows, as_lines
from polycopy_assets.trades.payload import Packer
from polycopy_assets.trades.shapes import NO_TRANSACTION

SEGMENT_BYTES = 7_500_000
"""Compressed bytes after which a segment ends: 8 MiB minus room for one busy second."""

SMALL_BYTES = 2**18
"""Compressed bytes of a first segment: what is not stored yet is lost if the process is killed."""

SHARE = 48
"""A segment is at most this part of what is stored of its wallet, for each walk of the wallet. So
segments grow with the wallet, and their number with the logarithm of its size."""

REMEMBERED = 20_000
"""At least the time of the transactions of so many rows is remembered, at most of twice as many:
a whale's would fill the memory."""

_STEP = 64 * 2**10
"""Rows are compressed in pieces of about so many bytes, and the size looked at after each."""

_HASH = re.compile(r"0x[0-9a-fA-F]{64}")


def growing(stored: int, walks: int, most: int) -> int:
    """The compressed bytes of the next segment of a wallet of which `stored` bytes are stored.

    `walks` are under way on the wallet; at most `most`.
    """
    return min(most, max(SMALL_BYTES, stored // (SHARE * max(walks, 1))))


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A finished segment on its way to the store: its bytes, and what they hold."""

    span: Interval
    payload: bytes
    rows: int
    first: int | None
    last: int | None
    digest: int


class Cutter:
    """Collects rows of `source`, newest first from `until`; returns drafts at changes of second.

    `segment_bytes` says after how many compressed bytes a segment ends; if it is a function, it is
    asked again and again. No segment begins at one of the seconds `avoided`, unless the stream
    ends or breaks off there.
    """

    def __init__(
        self,
        until: int,
        source: str,
        segment_bytes: int | Callable[[], int] = SEGMENT_BYTES,
        *,
        avoided: Collection[int] = (),
    ) -> None:
        self._avoided = avoided
        self._source = source
        self._limit = segment_bytes if callable(segment_bytes) else lambda: segment_bytes
        self._times: dict[str, int] = {}
        self._times_before: dict[str, int] = {}
        self._second: int | None = None
        self._pending: list[bytes] = []
        self._open(until)

    def _open(self, until: int) -> None:
        self._until = until
        self._packer = Packer(self._source)
        self._rows = 0
        self._digest = 0
        self._first: int | None = None
        self._last: int | None = None

    def add(self, row: Row) -> Draft | None:
        """Takes the next row; returns the segment that it ends, if it ends one."""
        return next(iter([*self.add_all(Rows.of([row]))]), None)

    def add_all(self, rows: Rows) -> Iterator[Draft]:
        """Takes the next rows, in order; yields the segments that they end.

        Raises ContractBroken if a transaction has two times. To be exhausted.
        """
        if not rows:
            return
        self._check_transactions(rows)
        times, raws, lines = rows.times, rows.raws, rows.lines
        if self._pending and self._second is not None:
            if times[-1] == self._second:
                self._pending += raws
                return
            times = [*(self._second for _ in self._pending), *times]
            raws = [*self._pending, *raws]
            lines = as_lines(self._pending) + lines
        changes = list(compress(range(1, len(times)), map(ne, times[1:], times)))
        yield from self._close(times, raws, lines, changes)
        self._second = times[-1]
        self._pending = list(raws[changes[-1] if changes else 0 :])

    def finish(self, start: int) -> Draft:
        """The last segment, down to `start`, all seconds whole; may be empty."""
        if self._pending and self._second is not None:
            lines = as_lines(self._pending)
            self._take(lines, len(self._pending), [lines], self._second, self._second)
            self._pending.clear()
        return self._draft(start)

    def salvage(self) -> Draft | None:
        """The complete part if the stream broke off: all but the second that was being read.

        It begins at a second that is avoided only if there is no other before its first row.
        """
        if not self._rows or self._second is None or self._first is None:
            return None
        self._pending.clear()
        possible = range(self._second + 1, self._first + 1)
        free = (each for each in possible if each not in self._avoided)
        return self._draft(next(free, self._second + 1))

    def _close(
        self, times: Sequence[int], raws: Sequence[bytes], lines: bytes, changes: Sequence[int]
    ) -> Iterator[Draft]:
        """Takes all seconds that are complete; a new one begins at each row of `changes`."""
        view = memoryview(lines)
        ends = [0, *accumulate(map(len, raws))]
        first, step = 0, min(_STEP, self._limit())
        seconds: list[memoryview] = []
        at = packed = 0
        for until in changes:
            end = ends[until] + until  # each row before has its line break
            seconds.append(view[at:end])
            at = end
            if end - packed >= step or until == changes[-1]:
                self._take(view[packed:end], until - first, seconds, times[first], times[until - 1])
                first, packed, seconds = until, end, []
                if self._packer.size >= self._limit() and times[until - 1] not in self._avoided:
                    yield self._draft(times[until - 1])
                    self._open(times[until - 1])

    def _take(
        self,
        lines: bytes | memoryview,
        rows: int,
        seconds: Iterable[bytes | memoryview],
        last: int,
        first: int,
    ) -> None:
        """Takes whole seconds: their lines, together and each by itself."""
        self._packer.add(lines)
        self._digest += of_seconds(seconds)
        self._rows += rows
        self._first = first
        self._last = last if self._last is None else self._last

    def _check_transactions(self, rows: Rows) -> None:
        """A transaction has one time: what is in order differs at the ends if it differs at all."""
        newest = dict(zip(reversed(rows.hashes), reversed(rows.times), strict=True))
        oldest = dict(zip(rows.hashes, rows.times, strict=True))
        for times in (newest, oldest):
            times.pop(NO_TRANSACTION, None)
        again = [
            tx
            for known in (self._times, self._times_before)
            for tx in oldest.keys() & known.keys()
            if known[tx] != oldest[tx]
        ]
        if again or newest != oldest:
            raise _two_times(rows, self._times_before | self._times)
        self._times |= oldest
        if len(self._times) > REMEMBERED:
            self._times_before, self._times = self._times, {}

    def _draft(self, start: int) -> Draft:
        return Draft(
            span=Interval(start, self._until),
            payload=self._packer.finish(),
            rows=self._rows,
            first=self._first,
            last=self._last,
            digest=total((self._digest,)),
        )


def free_second(span: Interval, avoided: Collection[int], near: int) -> int | None:
    """A second inside `span`, past its first one, that is not `avoided`; looks from `near` on."""
    start, until = span
    seconds = chain(range(max(near, start + 1), until), range(near, start, -1))
    return next((each for each in seconds if each not in avoided), None)


def in_two(rows: Rows, span: Interval, source: str, avoided: Collection[int]) -> list[Draft]:
    """`rows`, newest first, which cover `span`, as two segments that touch; the newer one first.

    They touch at a second that is not `avoided`, near the row in the middle. Empty if there is no
    such second.
    """
    start, until = span
    middle = rows.times[len(rows) // 2] if rows else start + (until - start) // 2
    cut = free_second(span, avoided, middle)
    if cut is None:
        return []
    newer = rows.down_to(cut)
    return [
        _whole(newer, Interval(cut, until), source),
        _whole(rows[len(newer) :], Interval(start, cut), source),
    ]


def _whole(rows: Rows, span: Interval, source: str) -> Draft:
    """One segment of `rows`, which covers `span`."""
    cutter = Cutter(span.until, source, sys.maxsize)
    for _ in cutter.add_all(rows):
        raise AssertionError("no segment has so many bytes")
    return cutter.finish(span.start)


def _two_times(rows: Rows, known: dict[str, int]) -> ContractBroken:
    """Names the first transaction of `rows` with two times."""
    for row in rows:
        first = known.setdefault(row.tx_hash, row.timestamp)
        if first != row.timestamp:
            # If it is not a hash, it may be an echo of the request, such as the key.
            named = row.tx_hash if _HASH.fullmatch(row.tx_hash) else "(its name is no hash)"
            return ContractBroken(f"transaction {named} has rows at {first} and at {row.timestamp}")
    raise AssertionError("no transaction has two times")
