"""A full refetch under names of its own: whatever the source serves this time, and at any horizon.

A segment with the name of an old one could not be told from it: the fetch would fail each time, or
ask again for what it has.
"""

import gzip
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from polycopy_assets.demo.world import Trade
from polycopy_assets.errors import TransientError
from polycopy_assets.fetch import refetch
from polycopy_assets.pipeline.fetch import FetchPlan, fetch
from polycopy_assets.pipeline.ports import FetchReport, Limits
from polycopy_assets.trades.cutter import Cutter, in_two
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Rows
from polycopy_assets.trades.segment import is_whole
from polycopy_assets_tests.engines import TRADES, WALLETS, Engine
from polycopy_assets_tests.fakes.memory import UNTIL, MemorySource, served_row
from polycopy_assets_tests.of_trades import parse_name, segment_name
from polycopy_assets_tests.unit.test_walk import row

WHALE = max(WALLETS, key=lambda wallet: len(TRADES[wallet]))
EVERY = sorted(TRADES[WHALE], key=lambda trade: trade.timestamp)
MANY, ONE = 700, 10**6
"""Compressed bytes of a segment: the whale has many segments, or one."""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def fetched(
    engine: Engine,
    source: MemorySource,
    segment_bytes: int,
    *,
    full: frozenset[str] = frozenset(),
    resumed: frozenset[str] = frozenset(),
) -> FetchReport:
    limits = Limits(concurrency=4, segment_bytes=segment_bytes)
    ports = engine.ports(source)._replace(limits=limits)
    return fetch(FetchPlan(targets=[WHALE], full=full, resumed=resumed), ports)


def stored(engine: Engine) -> dict[str, list[bytes]]:
    """The whale's segments in the store, and their lines."""
    names = [item.name for item in engine.store.list(f"trades/{WHALE}/")]
    names = [name for name in names if parse_name(name)]
    return {name: gzip.decompress(engine.store.read(name)).splitlines() for name in names}


def serving(trades: Sequence[Trade]) -> MemorySource:
    return MemorySource({WHALE: trades}, limit=20)


@pytest.mark.parametrize("segment_bytes", [MANY, ONE])
@pytest.mark.parametrize("lost", [None, 0, 1, len(EVERY) // 2, len(EVERY) - 2, len(EVERY) - 1])
def test_what_the_source_did_not_serve_before_is_in_new_segments(
    engine: Engine, segment_bytes: int, lost: int | None
):
    before = [trade for number, trade in enumerate(EVERY) if number != lost]
    assert not fetched(engine, serving(before), segment_bytes).failures
    old = stored(engine)
    for _ in range(3):
        report = fetched(engine, serving(EVERY), segment_bytes, full=frozenset({WHALE}))
        assert report.failures == []
        assert report.new_rows == len(EVERY)
        new = stored(engine)
        assert {segment.name for segment in engine.record.recorded[WHALE]} == {*new}
        assert not new.keys() & old.keys(), "a new segment has the name of an old one"
        assert sum(map(len, new.values())) == len(EVERY)
        assert engine.record.covered_until[WHALE] == UNTIL
        old = new


def test_one_that_breaks_off_asks_for_nothing_again(engine: Engine):
    assert not fetched(engine, serving(EVERY), MANY).failures
    old = stored(engine)
    source = serving(EVERY)
    source._fails = lambda wallet: TransientError("503") if len(source.asked) > 5 else None
    assert fetched(engine, source, MANY, full=frozenset({WHALE})).failures
    kept = {name: lines for name, lines in stored(engine).items() if name not in old}
    assert sum(map(len, kept.values())) > 50
    again = serving(EVERY)
    whales = frozenset({WHALE})
    report = fetched(engine, again, MANY, full=whales, resumed=whales)
    assert report.failures == []
    assert report.new_rows == len(EVERY) - sum(map(len, kept.values()))
    assert kept.items() <= stored(engine).items()
    assert not old.keys() & stored(engine).keys()


def put(engine: Engine, trades: Sequence[Trade], *spans: Interval) -> list[str]:
    """Makes segments of `trades` durable, whatever they are named; returns their names."""
    names = []
    for span in spans:
        inside = [each for each in trades if span.start <= each.timestamp < span.until]
        cutter = Cutter(span.until, "polymarket", sys.maxsize)
        for _ in cutter.add_all(Rows.of(map(partial(served_row, WHALE), reversed(inside)))):
            raise AssertionError
        names.append(segment_name(WHALE, span))
        engine.store.create(names[-1], cutter.finish(span.start).payload)
    return names


def test_a_single_second_that_an_older_version_left_over_is_fetched(engine: Engine):
    at = EVERY[0].timestamp
    trades = [replace(t, timestamp=at + n, tx_hash=f"0x{n:064x}") for n, t in enumerate(EVERY[:9])]
    second = Interval(at + 4, at + 5)
    old = put(
        engine,
        trades,
        Interval(0, second.start),
        second,
        Interval(second.until, at + 7),
        Interval(at + 7, UNTIL),
    )
    refetch.begin(engine.store, WHALE, old)
    # New segments of a version that let them end where old ones do: all but that second is there.
    before = Interval(second.start - 1, second.start)
    kept = put(engine, trades, Interval(second.until, UNTIL), before, Interval(0, before.start))
    source, whales = serving(trades), frozenset({WHALE})
    report = fetched(engine, source, MANY, full=whales, resumed=whales)
    assert report.failures == []
    assert {span for _, span in source.asked} == {Interval(before.start, second.until)}
    assert sum(segment.rows for segment in engine.record.recorded[WHALE]) == len(trades)
    there = {segment_name(WHALE, Interval(before.start, second.until)), kept[0], kept[2]}
    assert {segment.name for segment in engine.record.recorded[WHALE]} == there
    assert stored(engine).keys() == there, "something is left over"


def test_a_wallet_that_had_no_trades_is_fetched_in_full_though_the_first_attempt_breaks_off(
    engine: Engine,
):
    assert not fetched(engine, serving([]), MANY).failures
    whales = frozenset({WHALE})
    source = serving(EVERY)
    source._fails = lambda wallet: TransientError("503") if len(source.asked) > 5 else None
    assert fetched(engine, source, MANY, full=whales).failures
    assert len(stored(engine)) > 1
    begun = frozenset(wallet for name, wallet in engine.record.calls if name == "begun")
    report = fetched(engine, serving(EVERY), MANY, full=begun, resumed=begun)
    assert report.failures == []
    recorded = engine.record.recorded[WHALE]
    assert is_whole(recorded, engine.record.covered_until[WHALE])
    assert sum(segment.rows for segment in recorded) == len(EVERY)
    assert {segment.name for segment in recorded} == stored(engine).keys()
    assert ("ended", WHALE) in engine.record.calls


class Earlier(MemorySource):
    """One whose horizon is `until`."""

    until = UNTIL

    async def horizon(self) -> Horizon:
        return Horizon(until=self.until, at=self.until)


def test_what_a_fetch_left_after_the_end_of_a_later_one_counts_when_the_gap_is_closed(
    engine: Engine,
):
    base = UNTIL - 100
    each_second = [
        replace(trade, timestamp=base + n, tx_hash=f"0x{n:064x}")
        for n, trade in enumerate(EVERY[:100])
    ]
    source = serving(each_second)
    source._fails = lambda wallet: TransientError("503") if len(source.asked) > 3 else None
    assert fetched(engine, source, ONE).failures
    (kept,) = stored(engine)
    earlier = Earlier({WHALE: each_second}, limit=20)
    earlier.until = base + 10
    assert fetched(engine, earlier, ONE).failures == []
    assert engine.record.covered_until[WHALE] == earlier.until
    assert is_whole(engine.record.recorded[WHALE], earlier.until)
    report = fetched(engine, serving(each_second), ONE)
    assert report.failures == []
    assert engine.record.covered_until[WHALE] == UNTIL
    assert sum(segment.rows for segment in engine.record.recorded[WHALE]) == len(each_second)
    assert kept in {segment.name for segment in engine.record.recorded[WHALE]}


@given(st.lists(st.integers(100, 119), max_size=30), st.frozensets(st.integers(100, 120)))
def test_what_is_kept_when_the_source_fails_begins_at_a_second_that_is_not_avoided(
    times: list[int], avoided: frozenset[int]
):
    rows = [row(time, number) for number, time in enumerate(sorted(times, reverse=True))]
    cutter = Cutter(120, "memory", sys.maxsize, avoided=avoided)
    assert not [*cutter.add_all(Rows.of(rows))]
    draft, seconds = cutter.salvage(), sorted({*times})
    if len(seconds) < 2:
        assert draft is None
        return
    assert draft is not None
    begins = draft.span.start
    assert seconds[0] < begins <= seconds[1]
    assert begins not in avoided or avoided >= {*range(seconds[0] + 1, seconds[1] + 1)}
    assert draft.rows == len([time for time in times if time >= begins])


@given(st.lists(st.integers(100, 119), max_size=30), st.frozensets(st.integers(100, 120)))
def test_a_segment_is_cut_in_two_at_a_second_that_is_not_avoided(
    times: list[int], avoided: frozenset[int]
):
    rows = [row(time, number) for number, time in enumerate(sorted(times, reverse=True))]
    parts = in_two(Rows.of(rows), Interval(100, 120), "memory", avoided)
    if not parts:
        assert avoided >= {*range(101, 120)}
        return
    newer, older = parts
    cut = newer.span.start
    assert (newer.span, older.span) == (Interval(cut, 120), Interval(100, cut))
    assert cut not in avoided
    assert 100 < cut < 120
    lines = [gzip.decompress(part.payload).splitlines() for part in parts]
    assert [*chain.from_iterable(lines)] == [each.raw for each in rows]
    assert [part.rows for part in parts] == [*map(len, lines)]
    for part, held in zip(parts, (newer, older), strict=True):
        inside = [t for t in times if held.span.start <= t < held.span.until]
        assert (part.first, part.last) == (min(inside, default=None), max(inside, default=None))


@given(st.lists(st.integers(100, 119), max_size=40), st.frozensets(st.integers(100, 120)))
def test_no_segment_begins_at_a_second_that_is_avoided(times: list[int], avoided: frozenset[int]):
    rows = [row(time, number) for number, time in enumerate(sorted(times, reverse=True))]
    cutter = Cutter(120, "memory", 1, avoided=avoided)
    drafts = [*cutter.add_all(Rows.of(rows)), cutter.finish(100)]
    starts = [draft.span.start for draft in drafts]
    assert starts[-1] == 100
    assert not avoided & {*starts[:-1]}
    assert [draft.span.until for draft in drafts] == [120, *starts[:-1]]
    # At every other second that has rows, but the oldest, which ends the stream.
    possible = {time for time in times if time != min(times)} - avoided
    assert {*starts[:-1]} == possible
    held = Counter(line for each in drafts for line in gzip.decompress(each.payload).splitlines())
    assert held == Counter(each.raw for each in rows)
