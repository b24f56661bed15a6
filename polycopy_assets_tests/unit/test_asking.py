"""Conditions are asked for in groups: what is refused, missing or done twice stays its own."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import polars as pl
import pytest
from isal import igzip

from polycopy_assets.batches.conditions import conditions_in
from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.limits import Limits
from polycopy_assets.demo.server import serve
from polycopy_assets.demo.state import State
from polycopy_assets.dimensions.facts import (
    Facts,
    Market,
    Resolution,
    Said,
    Token,
    is_combo,
)
from polycopy_assets.errors import ContractBroken, ObjectLost, PermanentError, TransientError
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.pipeline import new_conditions
from polycopy_assets.pipeline.dimensions import MOST_REFUSED, DimensionPorts, Kept, keep_dimensions
from polycopy_assets.pipeline.new_conditions import Loaded
from polycopy_assets.sources.budget import Window
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.dimensions import FOLD_AFTER, FactsInStore
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets.system.step import Step
from polycopy_assets.trades.interval import Interval
from polycopy_assets.warehouse.base import Parts
from polycopy_assets_tests.fakes.counting import CountingStore
from polycopy_assets_tests.of_trades import MANIFESTS, manifest_name, open_source
from polycopy_assets_tests.unit.test_summaries import commit

AT = 1_000


def condition(number: int) -> str:
    return f"0x{number:064x}"


def hashed(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def combo(number: int) -> str:
    return f"0x03{hashed(number)[:32]}{0:030x}"


class Source:
    """Knows every condition; `refuses` says which, by route, with what error."""

    at_once = 2

    def __init__(self, refuses: Callable[[str, str], Exception | None] = lambda way, c: None):
        self._refuses = refuses
        self.requests = 0

    def _asked(self, way: str, conditions: Sequence[str]) -> None:
        self.requests += 1
        for each in conditions:
            if error := self._refuses(way, each):
                raise error

    async def tokens(self, conditions: Sequence[str]) -> Said:
        assert len(conditions) <= 10
        self._asked("tokens", conditions)
        found = {
            each: (Token(token_id=str(int(each, 16)), outcome_index=0),) for each in conditions
        }
        return Said(tokens=found, at=AT, requests=1)

    async def resolutions(self, conditions: Sequence[str]) -> Said:
        assert len(conditions) <= 20
        self._asked("resolutions", conditions)
        found = {each: Resolution(status="posed") for each in conditions}
        return Said(resolutions=found, at=AT, requests=1)

    async def markets(self, conditions: Sequence[str]) -> Said:
        assert len(conditions) <= 20
        self._asked("markets", conditions)
        found = {each: Market(question="Will it?", closed=True) for each in conditions}
        return Said(markets=found, at=AT, requests=1)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Source"]:
        yield self


class Tables:
    """Tables in memory, by name."""

    def __init__(self) -> None:
        self.rows: dict[str, pl.DataFrame] = {}

    def replace(self, name: str, file: str, rows: int, files: Parts) -> None:
        with files.local(file) as path:
            self.rows[name] = pl.read_parquet(path)
        assert len(self.rows[name]) == rows

    def describe(self) -> None:
        """No views here."""


class Runs:
    """Runs over a store whose batches have conditions, by number."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = FeedStore(LocalStore(root), TRADES)
        self.tables = Tables()
        self.batches: Mapping[int, set[str]] = {}
        self.activity: Mapping[int, set[str]] | None = None
        self.read: list[int] = []
        self.broken: set[int] = set()
        self.gone: set[int] = set()
        self.tables_read: list[str] = []
        monkeypatch.setattr(new_conditions, "conditions_in", self._conditions)

    def _conditions(self, store: FeedStore, batches: set[int]) -> Iterator[tuple[int, set[str]]]:
        every = self.batches if store.feed is TRADES else self.activity or {}
        for number in sorted(batches - self.broken):
            if number in self.gone and store.feed is TRADES:
                raise ObjectLost("combined/parts/…", "is not in the store")
            self.read.append(number)
            yield number, every[number]

    def _loaded(self, feed: Feed, batches: Mapping[int, set[str]]) -> Loaded:
        def in_table() -> set[str]:
            self.tables_read.append(feed.table)
            return set().union(*batches.values())

        return Loaded(FeedStore(self.store, feed), frozenset(batches), in_table)

    def _second(self) -> list[Loaded]:
        return [] if self.activity is None else [self._loaded(ACTIVITY, self.activity)]

    def __call__(self, source: Source) -> Kept:
        return keep_dimensions(
            DimensionPorts(
                store=self.store.whole,
                loaded=[self._loaded(TRADES, self.batches), *self._second()],
                tables=self.tables,
                open_source=source.opened,
                check=lambda: None,
                step=Step(),
            )
        )


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(tmp_path, monkeypatch)


def refusing_combos(way: str, each: str) -> Exception | None:
    del way
    return PermanentError(f"400 not valid: {each}") if is_combo(each) else None


def test_more_conditions_than_a_bound_may_be_refused_for_what_they_are(run: Runs):
    combos = {combo(number) for number in range(3 * MOST_REFUSED)}
    plain = {f"0x{hashed(-number)}" for number in range(1, 3 * MOST_REFUSED)}
    run.batches = {1: combos | plain}
    source = Source(refusing_combos)
    kept = run(source)
    assert kept.refused.keys() == combos
    assert kept.requests == source.requests
    assert set(run.tables.rows["markets"]["condition_id"]) == plain
    assert not [*kept.unknown, *kept.silent]


def test_what_several_feeds_name_is_asked_for_once_and_no_batch_is_read_twice(run: Runs):
    run.batches = {1: {condition(1), condition(2)}, 2: {condition(3)}}
    alone = Source()
    assert (run(alone).asked, alone.requests, run.read) == (3, 3, [1, 2])
    written = [item.name for item in run.store.list("dimensions/") if "-change" in item.name]
    headers = [igzip.decompress(run.store.read(name)).partition(b"\n")[0] for name in written]
    assert headers == [
        b'{"version":1,"batch":0,"lines":3}',
        b'{"version":1,"batch":2,"lines":0}',
    ], "a store of trades alone is written as ever"

    run.read.clear()
    run.activity = {1: {condition(2), condition(4)}, 2: {condition(4), condition(5)}}
    assert (run(Source()).conditions, run.read) == (5, [1, 2])
    facts = FactsInStore(run.store)
    assert (facts.batch, facts.batches) == (2, {"activity": 2})
    assert [each.condition for each in facts.versions()] == [*map(condition, range(1, 6))]

    run.read.clear()
    run.activity = {**run.activity, 3: {condition(6)}}
    run.batches = {**run.batches, 3: {condition(6)}}
    assert (run(Source()).conditions, run.read) == (6, [3, 3])
    run.activity = None  # collected no more: it is known how far it was read
    run.batches = {**run.batches, 4: {condition(7)}}
    run(Source())
    facts = FactsInStore(run.store)
    assert (facts.batch, facts.batches, len(facts)) == (4, {"activity": 3}, 7)


def test_if_parts_are_gone_the_table_says_what_they_had(run: Runs):
    run.batches = {1: {condition(1)}, 2: {condition(2)}, 3: {condition(3)}}
    run.activity = {1: {condition(4)}}
    run.gone = {2}
    kept = run(Source())
    assert (kept.conditions, run.read, run.tables_read) == (4, [1, 1], ["trades"])
    assert (FactsInStore(run.store).batch, FactsInStore(run.store).batches) == (3, {"activity": 1})
    run.read.clear()
    run.batches = {**run.batches, 4: {condition(5)}}
    assert (run(Source()).conditions, run.read, run.tables_read) == (5, [4], ["trades"])


def test_combos_and_events_are_named_as_what_they_are(run: Runs):
    market, nobodys, named, silent = condition(1), condition(2), combo(1), combo(2)
    event = f"0x{hashed(3)}"
    of_event = Token(token_id="1", outcome_index=0, neg_risk_market_id=event.upper())

    class Knows(Source):
        async def tokens(self, conditions: Sequence[str]) -> Said:
            known = {market: (of_event,), named: (Token(token_id="2", outcome_index=0),)}
            self._asked("tokens", conditions)
            return Said(
                tokens={each: known[each] for each in conditions if each in known},
                at=AT,
                requests=1,
            )

        async def markets(self, conditions: Sequence[str]) -> Said:
            self._asked("markets", conditions)
            return Said(at=AT, requests=1)

        resolutions = markets

    asked: set[tuple[str, str]] = set()
    source = Knows(lambda way, each: asked.add((way, each)))
    run.batches = {1: {market, nobodys}}
    # With and without the byte of an outcome, and with that of either: one combo.
    run.activity = {1: {event, named[:-2], f"{named[:-1]}1", silent}}
    kept = run(source)
    assert (kept.unknown, kept.silent, kept.refused) == ([nobodys], [silent], {})
    assert {way for way, each in asked if is_combo(each)} == {"tokens"}
    assert {each for way, each in asked if way == "tokens"} == {
        *(market, nobodys, named, silent, event)
    }
    assert set(run.tables.rows["markets"]["condition_id"]) == {market, nobodys}
    assert set(run.tables.rows["tokens"]["condition_id"]) == {market, named}
    asked.clear()
    run.activity = {**run.activity, 2: {event, named}}
    assert run(source).changed == 0
    assert event not in {each for _, each in asked}, "the tokens say that it is an event"
    assert FactsInStore(run.store).batches == {"activity": 2}


@pytest.mark.parametrize("way", ["tokens", "resolutions", "markets"])
def test_a_route_that_refuses_everything_ends_the_run_and_says_why(run: Runs, way: str):
    run.batches = {1: {condition(number) for number in range(30 * MOST_REFUSED)}}
    source = Source(lambda asked, each: ContractBroken("403 go away") if asked == way else None)
    with pytest.raises(ContractBroken, match="in a row, the last one with: 403 go away"):
        run(source)
    assert source.requests < 10 * MOST_REFUSED
    assert len(FactsInStore(run.store)) > 0, "what the other routes said is kept"


def test_a_condition_that_every_route_refuses_is_asked_again_and_its_batch_not_read_again(
    run: Runs,
):
    bad = condition(77)
    run.batches = {4: {bad, *(condition(number) for number in range(50))}}

    def refuses(way: str, each: str) -> Exception | None:
        del way
        return PermanentError("400 no") if each == bad else None

    first = run(Source(refuses))
    assert (first.refused.keys(), first.unknown) == ({bad}, [])
    assert run.read == [4]
    again = run(Source(refuses))
    assert (again.refused.keys(), again.changed, run.read) == ({bad}, 0, [4])
    found = run(Source())
    assert (found.refused, found.changed, run.read) == ({}, 1, [4])
    rows = run.tables.rows["markets"].filter(pl.col("condition_id") == bad)
    assert rows["known"].to_list() == [False, True]


def test_a_batch_whose_manifest_cannot_be_used_now_is_read_later(run: Runs):
    run.batches = {number: {condition(number)} for number in (1, 2, 3)}
    run.broken = {2}
    run.store.create(manifest_name(2), b"not as it was written")
    assert run(Source()).conditions == 2
    assert FactsInStore(run.store).batch == 1
    assert run(Source()).conditions == 2
    run.broken = set()
    assert run(Source()).conditions == 3
    assert FactsInStore(run.store).batch == 3

    run.batches = {**run.batches, 4: {condition(4)}, 5: {condition(5)}}
    run.broken = {4}  # its manifest is gone: it was set aside, and combined again
    assert run(Source()).conditions == 4
    assert FactsInStore(run.store).batch == 5


def test_a_source_that_is_down_is_no_refusal_and_what_was_answered_stays(run: Runs):
    run.batches = {1: {condition(number) for number in range(200)}}
    source = Source()
    source._refuses = lambda way, each: TransientError("503") if source.requests > 20 else None
    with pytest.raises(TransientError):
        run(source)
    kept = len(FactsInStore(run.store))
    assert 0 < kept < 200
    assert FactsInStore(run.store).batch == 0
    after = run(Source())
    assert (after.conditions, FactsInStore(run.store).batch) == (200, 1)


def test_the_conditions_of_new_batches_cost_no_look_at_old_ones(tmp_path: Path):
    store = CountingStore(tmp_path)
    for number in (1, 2, 3, 5, 6):
        rows = pl.DataFrame({"condition_id": [condition(number), None, condition(number)]})
        file = io.BytesIO()
        rows.write_parquet(file)
        commit(store, number, crc32c=crc32c(file.getvalue()))
        store.create(f"combined/parts/{number:08d}/aa/part-00000.parquet", file.getvalue())
    assert list(conditions_in(store, set())) == []
    assert not store.reads
    assert list(conditions_in(store, {6})) == [(6, {condition(6)})]
    assert list(store.below(MANIFESTS)) == [manifest_name(6)]
    assert [number for number, _ in conditions_in(store, {3, 6})] == [3, 6]
    assert [number for number, _ in conditions_in(store, {1, 2, 3, 4, 5, 6})] == [1, 2, 3, 5, 6]


def test_a_route_of_trades_keeps_to_its_own_budget():
    world = generate(3, 2, most_trades=5)
    wallet = world.wallets()[0]

    async def pages(url: str) -> None:
        windows, few = [Window(1000, 1.0)], [Window(2, 0.2)]
        async with open_source(
            "polymarket", url, windows=windows, routes={"/v2/trades": few}, concurrency=8, timeout=9
        ) as source:
            every = Interval(0, 2_000_000_000)
            await asyncio.gather(*(source.page(wallet, every, None) for _ in range(7)))

    with serve(State(world, Faults())) as api:
        api.state.limits = Limits({"/v2/trades": (2, 0.2)})
        asyncio.run(pages(api.url))
        assert not api.state.limits.refused


def test_what_another_run_wrote_while_all_was_folded_counts_and_stays(tmp_path: Path):
    store = LocalStore(tmp_path)
    mine = FactsInStore(store)
    for number in range(FOLD_AFTER + 1):
        mine.add([Facts(condition=condition(number), since=1)], 1)
    other = FactsInStore(store)
    same = Facts(condition=condition(1), since=5, market=Market(question="Will it?"))
    other.add([same], 1)
    other.add([Facts(condition=condition(500), since=1)], 2)
    mine.fold()  # under the number that `other` has taken
    after = FactsInStore(store)
    assert condition(500) in after
    assert after.get(condition(1)) == same
    assert [facts.since for facts in after.versions() if facts.condition == condition(1)] == [1, 5]
    after.fold()
    assert len(FactsInStore(store)) == FOLD_AFTER + 2
