"""The walk over sources that keep their contract, and over sources that break it."""

import asyncio
import gzip
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycopy_assets.errors import ContractBroken, SourceError, TransientError
from polycopy_assets.trades.cutter import Draft
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import Interval, union
from polycopy_assets.trades.page import Page, Row
from polycopy_assets.trades.walk import walk

WALLET = "0x" + "1" * 40
SPAN = Interval(100, 200)


def row(timestamp: int, number: int, wallet: str = WALLET) -> Row:
    """Rows number 0 and 1 are alike, 2 and 3 are, and so on."""
    return Row(
        wallet,
        timestamp,
        f"0x{timestamp:x}-{number // 2}",
        b'{"t":%d,"n":%d}' % (timestamp, number // 2),
    )


class Memory:
    """A source over a list of rows, newest first; `change` may spoil a page."""

    name = "memory"

    def __init__(
        self,
        rows: list[Row],
        limit: int = 3,
        change: Callable[[int, Page], Page] = lambda number, page: page,
    ) -> None:
        self.rows = sorted(rows, key=lambda r: -r.timestamp)
        self.limit = limit
        self.change = change
        self.pages = 0

    async def page(self, wallet: str, span: Interval, cursor: str | None) -> Page:
        del wallet
        inside = [r for r in self.rows if span.start <= r.timestamp < span.until]
        at = int(cursor or 0)
        found = inside[at : at + self.limit]
        more = at + self.limit < len(inside)
        self.pages += 1
        following = str(at + self.limit) if more else None
        return self.change(self.pages, Page(found, more, following, self.limit, 1))

    async def horizon(self) -> Horizon:
        return Horizon(until=SPAN.until, at=SPAN.until)


def collect(source: Any, span: Interval = SPAN, **options: Any) -> tuple[list[Draft], Any]:
    async def run() -> tuple[list[Draft], Any]:
        drafts: list[Draft] = []
        try:
            async for draft in walk(source, WALLET, span, **options):
                drafts.append(draft)  # noqa: PERF401 - kept when the walk fails
        except SourceError as error:
            return drafts, error
        return drafts, None

    return asyncio.run(run())


def lines(drafts: list[Draft]) -> list[bytes]:
    newest_first = sorted(drafts, key=lambda d: -d.span.start)
    return [line for d in newest_first for line in gzip.decompress(d.payload).splitlines()]


histories = st.lists(st.integers(100, 199), max_size=60).map(
    lambda times: [row(t, n) for n, t in enumerate(times)]
)


@given(histories, st.integers(3, 7), st.sampled_from([1, 40, 10**6]))
@settings(max_examples=200, deadline=None)
def test_the_drafts_cover_the_span_whole_and_hold_the_rows_as_served(
    rows: list[Row], limit: int, segment_bytes: int
):
    source = Memory(rows, limit)
    drafts, error = collect(source, segment_bytes=segment_bytes)
    assert error is None
    assert union(d.span for d in drafts) == [SPAN]
    assert sum(d.span.until - d.span.start for d in drafts) == 100
    assert lines(drafts) == [r.raw for r in source.rows]
    for draft in drafts:
        inside = [r for r in rows if draft.span.start <= r.timestamp < draft.span.until]
        times = [r.timestamp for r in inside]
        assert draft.rows == len(inside)
        assert (draft.first, draft.last) == (min(times, default=None), max(times, default=None))


@given(histories, st.integers(3, 5), st.integers(1, 12), st.sampled_from([1, 10**6]))
@settings(max_examples=200, deadline=None)
def test_after_an_outage_the_whole_seconds_are_kept_and_the_rest_is_exactly_the_rest(
    rows: list[Row], limit: int, fails_at: int, segment_bytes: int
):
    def change(number: int, page: Page) -> Page:
        if number == fails_at:
            raise TransientError("down")
        return page

    source = Memory(rows, limit, change)
    kept, error = collect(source, segment_bytes=segment_bytes)
    if error is None:
        return
    floor = min((d.span.start for d in kept), default=SPAN.until)
    assert union(d.span for d in kept) in ([], [Interval(floor, SPAN.until)])
    rest, second = collect(Memory(rows, limit), Interval(SPAN.start, floor))
    assert second is None
    assert lines(kept + rest) == [r.raw for r in source.rows]


@patch("polycopy_assets.trades.walk.SPLIT_REACH", 1)
@given(histories, st.integers(3, 4))
@settings(max_examples=100, deadline=None)
def test_parts_that_are_handed_over_are_neither_lost_nor_doubled(rows: list[Row], limit: int):
    handed: list[Interval] = []
    drafts: list[Draft] = []
    todo = [SPAN]
    while todo:

        def split(part: Interval) -> bool:
            handed.append(part)
            todo.append(part)
            return True

        found, error = collect(Memory(rows, limit), todo.pop(), split=split)
        assert error is None
        drafts += found
    assert union(d.span for d in drafts) == [SPAN]
    assert sum(d.span.until - d.span.start for d in drafts) == 100
    assert sorted(lines(drafts)) == sorted(r.raw for r in rows)


@patch("polycopy_assets.trades.walk.SPLIT_REACH", 1)
def test_a_long_walk_does_hand_its_older_part_over():
    handed: list[Interval] = []
    rows = [row(t, n) for n, t in enumerate(range(100, 200))]
    drafts, _ = collect(Memory(rows, 3), split=lambda part: not handed.append(part))
    assert handed == [Interval(100, drafts[-1].span.start)]


@patch("polycopy_assets.trades.walk.SPLIT_REACH", 1)
def test_a_walk_that_is_told_nothing_of_a_split_keeps_its_older_part():
    """The default hands nothing over: nobody would walk it."""
    rows = [row(t, n) for n, t in enumerate(range(100, 200))]
    source = Memory(rows, 3)
    drafts, error = collect(source)
    assert error is None
    assert union(d.span for d in drafts) == [SPAN]
    assert lines(drafts) == [r.raw for r in source.rows]


def test_no_trades_are_one_empty_draft():
    drafts, _ = collect(Memory([]))
    assert [(d.span, d.rows, d.first, d.last) for d in drafts] == [(SPAN, 0, None, None)]
    assert gzip.decompress(drafts[0].payload) == b""


HISTORY = [row(t, n) for n, t in enumerate(range(199, 150, -1))]


def second(**changes: Any) -> Callable[[int, Page], Page]:
    return lambda number, page: page._replace(**changes) if number == 2 else page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (second(cursor="3"), "cursor was repeated"),
        (second(cursor=None), "no cursor"),
        (second(rows=[row(99, 1)]), "outside the requested 100 to 199"),
        (second(rows=[row(200, 1)]), "outside the requested"),
        (second(rows=[row(180, 1, "0x" + "2" * 40)]), "another wallet"),
        (second(rows=[row(190, n) for n in range(4)]), "4 rows where 3 is the limit"),
        (second(rows=[row(198, 1)]), "newest first: 198 after 197"),
        (second(rows=[]), "empty page"),
        (second(rows=HISTORY[:3]), "came again under a new cursor"),
        (second(rows=[HISTORY[0]._replace(timestamp=180)]), "rows at 199 and at 180"),
    ],
)
def test_a_broken_contract_ends_the_walk_and_keeps_nothing_doubtful(change: Any, words: str):
    drafts, error = collect(Memory(HISTORY, 3, change))
    assert isinstance(error, ContractBroken)
    assert words in str(error)
    assert drafts == []
