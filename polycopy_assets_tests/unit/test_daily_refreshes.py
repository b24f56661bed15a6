"""A wallet over months of refreshes: its segments are united, and a kill between any steps."""

import gzip
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from polycopy_assets.batches import combine as batches
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import v2_row
from polycopy_assets.errors import LockLost, ObjectKept, StoreError
from polycopy_assets.fetch import compaction, one_wallet, refetch
from polycopy_assets.ledger.facts import Recorded
from polycopy_assets.ledger.findings import lost_segments
from polycopy_assets.pipeline.combine import combine_new
from polycopy_assets.pipeline.load import load_batches
from polycopy_assets.pipeline.ports import LoadPorts
from polycopy_assets.trades.compaction import MOST
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import Interval, subtract
from polycopy_assets.trades.segment import StoredSegment, data_version, is_whole
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.fakes.memory import MemorySource
from polycopy_assets_tests.of_trades import parse_name, wallet_prefix
from polycopy_assets_tests.unit.test_engine import Engine

WORLD = generate(77, 1, whales=1, whale_trades=1_500)
WALLET = WORLD.wallets()[0].lower()
TRADES = sorted(WORLD.truth(WORLD.wallets()[0]), key=lambda trade: trade.timestamp)
START, END = TRADES[0].timestamp, TRADES[-1].timestamp + 1
LOG = logging.getLogger("refreshes")


class Today(MemorySource):
    """The source on a day: it has the trades before `until`."""

    def __init__(self, until: int) -> None:
        super().__init__({WALLET: TRADES})
        self.until = until

    async def horizon(self) -> Horizon:
        return Horizon(until=self.until, at=self.until)


class Refreshes:
    """A wallet that is refreshed each day; every second is requested at most once."""

    def __init__(self, engine: Engine, days: int) -> None:
        self.engine, self.store = engine, engine.store
        times = sorted({trade.timestamp for trade in TRADES})  # each day has some
        self._left = [times[len(times) * day // days - 1] + 1 for day in range(1, days + 1)]
        self.asked: list[Interval] = []

    def today(self, *, days: int = 1) -> None:
        """The refresh of the next day, or of so many."""
        for _ in range(days):
            self.fetch(Today(self._left.pop(0)))

    def fetch(self, source: Today) -> None:
        self.now = source.until
        try:
            self.engine.fetch(source, [WALLET])
        finally:
            for _, span in dict.fromkeys(source.asked):
                assert subtract(span, self.asked) == [span], "requested again"
                self.asked.append(span)

    def again(self) -> None:
        """The refresh of the same day once more."""
        self.fetch(Today(self.now))

    def recorded(self) -> set[str]:
        return {segment.name for segment in self.engine.record.recorded[WALLET]}

    def stored(self) -> set[str]:
        return {item.name for item in self.store.list(wallet_prefix(WALLET))}

    def is_whole(self) -> None:
        """The record names what is stored, and each trade until now is in it once."""
        segments = self.engine.record.recorded[WALLET]
        there = self.store.list(wallet_prefix(WALLET))
        listed = [StoredSegment.listed(self.store.names, *item) for item in there]
        record = Recorded(rows=0, segments=tuple(segments), covered_until=self.now)
        assert not lost_segments(record, [item[1] for item in listed if item])
        assert is_whole(segments, self.now)
        assert all(segment.claim == segment.span for segment in segments)
        lines = Counter(
            line
            for segment in segments
            for line in gzip.decompress(self.store.read(segment.name)).splitlines()
        )
        expected = [trade for trade in TRADES if trade.timestamp < self.now]
        assert lines == Counter(msgspec.json.encode(v2_row(trade)) for trade in expected)


@pytest.fixture
def refreshes(tmp_path: Path) -> Refreshes:
    return Refreshes(Engine(tmp_path), days=200)


@pytest.fixture
def full(refreshes: Refreshes) -> Refreshes:
    """As many segments as a wallet may have: the next refresh unites some."""
    refreshes.today(days=MOST + 1)
    assert len(refreshes.recorded()) == MOST + 1
    return refreshes


def test_after_many_refreshes_a_wallet_has_few_segments_and_nothing_else_is_stored(
    refreshes: Refreshes,
):
    for _ in range(200):
        refreshes.today()
        assert len(refreshes.recorded()) <= MOST + 1
        assert refreshes.stored() == refreshes.recorded()
    refreshes.is_whole()
    assert len(refreshes.asked) == 200


def test_what_a_refresh_brings_is_united_by_a_later_one(refreshes: Refreshes):
    """Otherwise the old trades that it is united with would be combined again."""
    rows = 0
    for _ in range(60):
        refreshes.today()
        every = refreshes.engine.record.recorded[WALLET]
        brought = sum(segment.rows for segment in every) - rows
        assert every[-1].rows == brought > 0
        rows += brought


def test_the_data_version_is_that_of_a_wallet_that_was_fetched_at_once(
    refreshes: Refreshes, tmp_path: Path
):
    refreshes.today(days=200)
    other = Engine(tmp_path / "other")
    other.fetch(Today(END), [WALLET])
    assert data_version(refreshes.engine.record.recorded[WALLET]) == data_version(
        other.record.recorded[WALLET]
    )


KILLS = {
    "in the union": (compaction, "_packed"),
    "before the record": (one_wallet, "left_over"),
    "instead of the record": ("record", "write"),
}


@pytest.mark.parametrize("kill", KILLS)
def test_a_kill_before_the_record_leaves_the_pieces_that_it_names(
    full: Refreshes, kill: str, monkeypatch: pytest.MonkeyPatch
):
    before = full.recorded()

    def die(*_: object) -> None:
        raise LockLost(kill)

    owner, name = KILLS[kill]
    with monkeypatch.context() as patch:
        patch.setattr(full.engine.record if owner == "record" else owner, name, die)
        with pytest.raises(LockLost):
            full.today()
    assert full.recorded() == before <= full.stored()
    assert before < full.stored(), "the news is stored"
    full.again()
    full.is_whole()
    assert full.stored() == full.recorded(), "leftovers are removed"
    assert len(full.recorded()) < MOST


def test_a_kill_before_the_pieces_are_removed_leaves_them_for_the_next_fetch(
    full: Refreshes, monkeypatch: pytest.MonkeyPatch
):
    before = full.recorded()

    def die(_: str) -> None:
        raise LockLost("killed")

    with monkeypatch.context() as patch:
        patch.setattr(full.store, "delete", die)
        with pytest.raises(LockLost):
            full.today()
    assert before < full.stored()
    full.is_whole()
    full.today()
    full.is_whole()
    assert full.stored() == full.recorded()


def test_leftovers_that_cannot_be_removed_are_no_failure_and_are_told_once(
    full: Refreshes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def kept(name: str) -> None:
        raise ObjectKept(f"cannot delete {name}: a hold")

    with monkeypatch.context() as patch:
        patch.setattr(full.store, "delete", kept)
        full.today()
        full.today()
    assert ("failed", WALLET) not in full.engine.record.calls
    told = [entry.message for entry in caplog.records]
    assert len(told) == 2, "once in each fetch"
    assert "8 segments that no longer count could not be removed" in told[0]
    full.is_whole()
    full.today()
    assert full.stored() == full.recorded()


def test_a_union_that_cannot_be_written_is_no_failure(
    full: Refreshes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    create = full.store.create

    def refuses(name: str, data: bytes, metadata: Mapping[str, str]) -> None:
        if str(full.now) not in name:
            raise StoreError("no space left")
        create(name, data, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(full.store, "create", refuses)
        full.today()
    assert "were not united: no space left" in caplog.text
    full.is_whole()
    assert len(full.recorded()) == MOST + 2
    full.today()
    full.is_whole()
    assert len(full.recorded()) < MOST


def test_a_lost_record_is_rebuilt_from_what_a_kill_left(
    full: Refreshes, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(full.store, "delete", lambda name: None)
        full.today()
    version = data_version(full.engine.record.recorded[WALLET])
    assert full.recorded() < full.stored()
    full.engine.record.recorded.clear()
    full.again()
    full.is_whole()
    assert data_version(full.engine.record.recorded[WALLET]) == version
    assert full.stored() == full.recorded()


def test_a_damaged_piece_keeps_its_neighbours_as_they_are(
    full: Refreshes, caplog: pytest.LogCaptureFixture
):
    before = full.recorded()
    for name in sorted(before)[::4]:
        damaged = full.store.root / name
        damaged.write_bytes(gzip.compress(gzip.decompress(damaged.read_bytes())))
    full.today()
    assert "segments were not united: trades/" in caplog.text
    assert "is not what was recorded" in caplog.text
    assert before < full.recorded() == full.stored()


def test_while_a_full_refetch_is_under_way_nothing_is_united_and_nothing_else_removed(
    full: Refreshes,
):
    old = full.recorded()
    newest = sorted(old)[-2:]
    refetch.begin(full.store, WALLET, newest)
    kept = parse_name(newest[0])
    assert kept
    full.asked = [Interval(0, kept[1].start)]
    full.today()
    full.is_whole()
    assert full.stored() == full.recorded()
    assert len(full.recorded() & old) == MOST - 1


# -- a load beside it ------------------------------------------------------------------------------


@pytest.fixture
def ports(full: Refreshes, tmp_path: Path) -> LoadPorts:
    table = DuckDBWarehouse(tmp_path / "w.duckdb").table(full.store.feed)
    return LoadPorts(full.engine.record, full.store, table, LOG, full.engine.check)


@pytest.mark.parametrize("news", [False, True], ids=["same version", "news"])
def test_a_load_whose_segments_are_united_meanwhile_leaves_the_wallet_to_the_next(
    full: Refreshes, ports: LoadPorts, monkeypatch: pytest.MonkeyPatch, *, news: bool
):
    read = batches.write_parts

    def meanwhile(*args: object) -> object:
        monkeypatch.undo()
        if news:
            full.today(days=3)
        else:
            monkeypatch.setattr(compaction, "unions", lambda segments: [tuple(segments)])
            full.again()
            monkeypatch.undo()
        return read(*args)  # type: ignore[arg-type]

    def combined() -> list[int]:
        done = combine_new(full.engine.record, full.store, (), LOG, full.engine.check)
        assert not done.lost, "it is no failure"
        return [manifest.batch for manifest in done.made]

    monkeypatch.setattr(batches, "write_parts", meanwhile)
    assert combined() == []
    assert combined() == [1]
    assert load_batches(ports).inserted == len([t for t in TRADES if t.timestamp < full.now])
    full.is_whole()
