"""The engine over ports in memory: outcomes written in order, and what stops it."""

import logging
from pathlib import Path

import pytest

from polycopy_assets.batches import combine as batches
from polycopy_assets.batches.manifests import read_batches
from polycopy_assets.errors import (
    BatchBroken,
    LockLost,
    PermanentError,
    PolycopyError,
    TransientError,
)
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.pipeline.combine import combine_new
from polycopy_assets.pipeline.fetch import FetchPlan, fetch
from polycopy_assets.pipeline.load import lacking, lacking_still, load_batches
from polycopy_assets.pipeline.ports import FetchReport, LoadPorts
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable
from polycopy_assets.warehouse.duckdb.file import DuckDBFile
from polycopy_assets.warehouse.feed_table import FeedTable, Loaded, Parts
from polycopy_assets_tests.engines import TRADES, WALLETS, Engine
from polycopy_assets_tests.fakes.memory import MemorySource

LOG = logging.getLogger("engine")


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def test_wallets_are_recorded_in_the_order_of_the_plan_once_each(engine: Engine):
    report = engine.fetch(MemorySource(TRADES))
    assert engine.record.calls == [("recorded", wallet) for wallet in WALLETS]
    assert (report.wallets, report.recorded, report.failures, report.down) == (
        len(WALLETS),
        len(WALLETS),
        [],
        False,
    )
    assert report.new_rows == sum(map(len, TRADES.values()))
    again = engine.fetch(source := MemorySource(TRADES))
    assert (again.recorded, again.new_rows, source.asked) == (len(WALLETS), 0, [])


def test_each_fetch_of_a_process_reports_its_own_requests_and_wallets(engine: Engine):
    progress = Progress()
    progress.requests, progress.done, progress.failed = 70, 5, 2
    source = MemorySource(TRADES, fails=lambda wallet: progress.request())
    ports = engine.ports(source)._replace(progress=progress)
    report = fetch(FetchPlan(targets=WALLETS[:3]), ports)
    assert report.requests == progress.requests - 70 > 0
    assert (report.wallets, progress.done, progress.failed) == (3, 3, 0)
    assert not progress.fetching


def test_a_plan_without_wallets_does_not_even_open_the_source(engine: Engine):
    source = MemorySource(TRADES)
    assert engine.fetch(source, []) == FetchReport(failures=[])
    assert source.horizons == 0


def test_a_failing_wallet_holds_up_no_other_and_its_attempt_counts_once_another_is_fetched(
    engine: Engine,
):
    slow, refused = WALLETS[0], WALLETS[2]
    errors = {slow: TransientError("503"), refused: PermanentError("404")}
    report = engine.fetch(MemorySource(TRADES, fails=errors.get))
    assert engine.record.calls == [
        ("failed", slow),
        ("recorded", WALLETS[1]),
        ("attempt", slow),
        ("failed", refused),
        ("attempt", refused),
        *[("recorded", wallet) for wallet in WALLETS[3:]],
    ]
    assert [(f.wallet, f.reason) for f in report.failures] == [
        (slow, "transient: 503"),
        (refused, "permanent: 404"),
    ]
    assert (report.recorded, report.down) == (len(WALLETS) - 2, False)


def test_an_outage_costs_no_wallet_an_attempt(engine: Engine):
    report = engine.fetch(MemorySource(TRADES, fails=lambda wallet: TransientError("503")))
    assert report.down
    assert len(report.failures) == len(WALLETS)
    assert {call for call, _ in engine.record.calls} == {"failed"}


def test_a_check_that_raises_ends_the_fetch(engine: Engine):
    engine.stopped = LockLost("the run was ended")
    with pytest.raises(LockLost):
        engine.fetch(MemorySource(TRADES))
    assert engine.record.calls == [("stopped", "0 recorded")]
    assert engine.checks


def test_a_report_that_cannot_be_kept_is_told_with_the_error_that_came_first(engine: Engine):
    engine.record.error = PolycopyError("the record is full")
    engine.record.end = _cannot_be_kept
    with pytest.raises(PolycopyError, match="the record is full") as raised:
        engine.fetch(MemorySource(TRADES))
    assert raised.value.__notes__ == ["the report of the fetch could not be recorded: no disk"]


def _cannot_be_kept(report: FetchReport) -> None:
    raise OSError("no disk") if report.ended_early else AssertionError(report)


def test_a_full_refetch_is_noted_before_anything_is_marked_and_ended_after_the_record(
    engine: Engine,
):
    wallet = WALLETS[0]
    engine.fetch(MemorySource(TRADES), [wallet])
    before = {segment.name for segment in engine.record.recorded[wallet]}
    engine.record.calls.clear()
    report = engine.fetch(MemorySource(TRADES), [wallet], full=frozenset({wallet}))
    assert engine.record.calls == [
        ("begun", wallet),
        ("recorded", wallet),
        ("marked", wallet),
        ("ended", wallet),
    ]
    assert report.new_rows == len(TRADES[wallet])
    after = {item.name for item in engine.store.list("trades/")}
    assert after == {segment.name for segment in engine.record.recorded[wallet]}
    assert len(after) >= len(before)


# -- combining and loading -------------------------------------------------------------------------


class Table(DuckDBTable):
    """A warehouse that remembers which batches it was given, and may call one of them broken."""

    def __init__(self, path: Path, feed: Feed) -> None:
        super().__init__(DuckDBFile(path), feed)
        self.given: list[int] = []
        self.broken: set[int] = set()

    def load(
        self, manifest: Manifest, parts: Parts, of: str | None = None, digest: str | None = None
    ) -> Loaded:
        if manifest.batch in self.broken:
            self.broken.remove(manifest.batch)
            raise BatchBroken(manifest.batch, "a part has another checksum")
        self.given.append(manifest.batch)
        return super().load(manifest, parts, of, digest)


@pytest.fixture
def ports(engine: Engine, tmp_path: Path) -> LoadPorts:
    engine.fetch(MemorySource(TRADES))
    table = Table(tmp_path / "w.duckdb", engine.store.feed)
    return LoadPorts(engine.record, engine.store, table, LOG, engine.check)


def combine(ports: LoadPorts, *, force: frozenset[str] = frozenset()) -> list[int]:
    made = combine_new(
        ports.records, ports.store, ports.table.loaded_batches(), LOG, ports.check, force=force
    )
    return [manifest.batch for manifest in made.made]


def test_what_was_fetched_is_combined_and_loaded_once(ports: LoadPorts):
    total = sum(map(len, TRADES.values()))
    assert combine(ports) == [1]
    report = load_batches(ports)
    assert (report.batches, report.inserted, report.deleted, report.last_batch) == (1, total, 0, 1)
    assert ports.table.count_rows() == total
    assert not lacking(ports.records.versions(), ports.store, lambda: ports.table).why()
    assert combine(ports) == []
    assert load_batches(ports).batches == 0


def test_batches_are_loaded_in_their_order_and_forced_wallets_are_combined_again(
    ports: LoadPorts,
):
    assert combine(ports) == [1]
    assert combine(ports, force=frozenset({WALLETS[0]})) == [2]
    report = load_batches(ports)
    assert isinstance(ports.table, Table)
    assert ports.table.given == [1, 2]
    assert report.inserted - report.deleted == sum(map(len, TRADES.values()))


def test_a_lost_lock_ends_the_load_after_the_batch_under_way(ports: LoadPorts):
    combine(ports)
    combine(ports, force=frozenset({WALLETS[0]}))
    assert isinstance(ports.table, Table)
    table = ports.table

    def check() -> None:
        if table.given:
            raise LockLost("another run has the lock")

    with pytest.raises(LockLost):
        load_batches(ports._replace(check=check))
    assert table.given == [1]
    load_batches(ports)
    assert table.given == [1, 2]


def test_a_lost_lock_ends_a_combine_after_the_batch_under_way(
    ports: LoadPorts, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batches, "BATCH_CLAIMS", 1)

    def check() -> None:
        if read_batches(ports.store).sound:
            raise LockLost("another run has the lock")

    with pytest.raises(LockLost):
        combine(ports._replace(check=check))
    assert len(read_batches(ports.store).sound) == 1
    combine(ports)
    assert not lacking(ports.records.versions(), ports.store, lambda: ports.table).uncombined


def test_a_batch_that_turns_out_to_be_broken_is_combined_again_under_another_number(
    ports: LoadPorts,
):
    combine(ports)
    assert isinstance(ports.table, Table)
    ports.table.broken = {1}
    report = load_batches(ports)
    assert ports.table.given == [2]
    assert report.inserted == sum(map(len, TRADES.values()))
    assert ports.table.loaded_batches() == {2}


def test_what_is_lacking_is_said_step_by_step(ports: LoadPorts):
    def why() -> str:
        return lacking(ports.records.versions(), ports.store, lambda: ports.table).why()

    assert "are recorded and not combined" in why()
    combine(ports)
    assert why() == "batch 1 is not in the table"
    load_batches(ports)
    assert not why()


def test_a_batch_that_another_machine_combines_during_a_load_is_not_lacking_after_it(
    ports: LoadPorts,
):
    """That machine loads it, or the next load does: this one has not failed."""
    versions = ports.records.versions()

    def table() -> FeedTable:
        return ports.table

    before = lacking(versions, ports.store, table)
    combine(ports)
    load_batches(ports)
    combine(ports, force=frozenset(versions))
    assert lacking(versions, ports.store, table).why() == "batch 2 is not in the table"
    assert not lacking_still(versions, ports.records, ports.store, table, before).why()
    later = lacking(versions, ports.store, table)
    still = lacking_still(versions, ports.records, ports.store, table, later)
    assert still.why() == "batch 2 is not in the table"
