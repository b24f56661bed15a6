"""Two feeds in one instance and one store: neither sees what is recorded of the other."""

from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.cli.purge import _used
from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import Kind
from polycopy_assets.feeds import known
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.ledger.source_counts import Count
from polycopy_assets.pipeline.ports import FetchReport
from polycopy_assets.pipeline.purge import delete_segments
from polycopy_assets.reconcile.audit import audit
from polycopy_assets.reconcile.restore import restore
from polycopy_assets.record import (
    attempts,
    counts,
    fetch_reports,
    loads,
    materializations,
    overview,
    refetching,
    snapshot,
    store_id,
)
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.lost_record import refuse_lost_record
from polycopy_assets.record.oldest_coverage import longest_ago_first
from polycopy_assets.record.private import runless
from polycopy_assets.record.purging import revoke_records
from polycopy_assets.record.records_ahead import RecordsAhead
from polycopy_assets.record.snapshot import State
from polycopy_assets.record.wanted import retire
from polycopy_assets.settings import feeds
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets_tests.deployment import Deployed, Deployment
from polycopy_assets_tests.payouts import PAYOUTS, stored_payouts

DAY = 20_000
STRANGER, UNKNOWN = f"0x{9:040x}", f"0x{8:040x}"


@pytest.fixture(autouse=True)
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up feed is a feed like the others."""
    monkeypatch.setitem(known.FEEDS, PAYOUTS.name, PAYOUTS)  # type: ignore[arg-type]
    monkeypatch.setitem(feeds.KNOWN, PAYOUTS.name, ("polymarket",))  # type: ignore[arg-type]


def written(record: FeedRecord, *events: dg.AssetMaterialization | dg.AssetObservation) -> None:
    for _ in runless.write(record.instance, events):
        pass


def commit(record: FeedRecord, fetched: Fetched) -> None:
    """Records a fetch, as its run does."""
    version, metadata = materializations.describe(fetched)
    written(
        record, materializations.materialization(record.feed, fetched.wallet, version, metadata)
    )


def note_everything(record: FeedRecord, store: FeedStore, wallets: list[str]) -> None:
    """Whatever a feed can have: of the first wallet a record, of the others what went wrong."""
    feed, (first, other, last) = record.feed, wallets
    commit(record, stored_payouts(store, first, 30))
    failed = Failed(wallet=other, reason="its own reason", kind=Kind.PERMANENT)
    written(
        record,
        attempts.observation(feed, failed, None),
        counts.failure(feed, failed),
        counts.materialization(
            feed,
            Count(wallet=first, source=31, ours=30, until=5, asked=6, version="rows-30-x"),
        ),
        materializations.revocation(feed, last, "lost", 77),
        fetch_reports.observation(feed, FetchReport(recorded=1, failures=[failed])),
        dg.AssetMaterialization(
            record.keys.table,
            metadata={loads.RECORD: "0123456789abcdef"},
            tags={materializations.DATA_VERSION_TAG: "batches-1"},
        ),
    )
    refetching.note(record, first, refetching.State.BEGUN)
    assert not audit(record.instance, store, DAY).lost
    overview.write(record)


def seen(record: FeedRecord, store: FeedStore, wallets: list[str]) -> dict[str, object]:
    """All that the code reads of a feed."""
    return {
        "records": dict(record.read()),
        "latest": record.latest(wallets[0]),
        "ahead": RecordsAhead(record, wallets).take(wallets[0]),
        "ids": dict(record.latest_ids()),
        "failed": attempts.failed(record),
        "complete": refetching.complete(record),
        "uncounted": counts.failed(record),
        "counted longest ago": counts.longest_ago_first(record, wallets),
        "longest ago": longest_ago_first(record, wallets, lambda wallet: None),
        "audited": record.note("audited_day"),
        "overview": record.instance.get_latest_materialization_event(record.keys.wallets),
        "kept": snapshot.take(record),
        "objects": [item for folder in store.names.folders for item in store.list(folder)],
    }


def kept_of(instance: dg.DagsterInstance) -> dict[str, State]:
    """What a snapshot of each feed says."""
    return {name: snapshot.take(FeedRecord(instance, feed)) for name, feed in known.FEEDS.items()}


@pytest.mark.parametrize("record_in", ["files", "ephemeral"])
def test_what_is_recorded_of_one_feed_is_nothing_to_the_other(
    deployed: Deployed, tmp_path: Path, record_in: str
):
    world = generate(61, 3, most_trades=20)
    wallets = [wallet.lower() for wallet in world.wallets()]
    ephemeral = {"POLYCOPY_INSTANCE": "ephemeral"} if record_in == "ephemeral" else {}
    with deployed(world, **ephemeral) as (deployment, served):
        deployment.want(wallets)
        deployment.backfill()
        deployment.environ["POLYCOPY_FEEDS"] = "trades,payouts"
        trades_store, store = deployment.store, FeedStore(deployment.store, PAYOUTS)
        with deployment.instance() as instance:
            trades, payouts = FeedRecord(instance, TRADES), FeedRecord(instance, PAYOUTS)
            of_trades = seen(trades, trades_store, wallets)
            assert of_trades["complete"] == trades.versions() != {}
            assert payouts.is_empty()
            nothing = snapshot.take(payouts)
            assert not nothing.header.loads
            assert {line.wallet: line.version for line in nothing.lines.values()} == dict.fromkeys(
                sorted(wallets), ""
            )
            refuse_lost_record(instance, store)  # the batches of the other feed are no sign

            note_everything(payouts, store, wallets)
            assert seen(trades, trades_store, wallets) == of_trades
            found = payouts.latest(wallets[0])
            assert found is not None
            assert {item.folder for item in found.segments} == {PAYOUTS.names.segments}
            assert payouts.versions().keys() == {wallets[0]}
            assert payouts.revoked() == {wallets[2]: 77}
            assert attempts.latest(payouts, wallets).keys() == {wallets[1]}
            assert payouts.note("audited_day") == str(DAY)
            assert refetching.complete(payouts) == {}
            # In the record, two feeds differ by nothing but the keys of their assets and notes.
            notes = {"polycopy/refetching", "polycopy/payouts/refetching"}
            values = instance.daemon_cursor_storage.get_cursor_values(notes)
            assert values == {"polycopy/payouts/refetching": f'{{"{wallets[0]}":"begun"}}'}
            before = kept_of(instance)
            assert before["trades"] == of_trades["kept"]
            # The store belongs to both.
            assert store_id._is_theirs(instance, store.whole, None)
            assert not store_id._is_theirs(instance, LocalStore(tmp_path / "elsewhere"), None)

        served.state.counts.reset()
        with deployment.instance() as instance:
            assert kept_of(instance) == before
        _rebuilt(deployment)
        _removed(deployment, wallets)
        assert not served.state.counts.requests


def _rebuilt(deployment: Deployment) -> None:
    """Without record and snapshots, each feed's record follows from its own segments."""
    store = deployment.store
    with deployment.instance() as instance:
        versions = {name: state.lines.values() for name, state in kept_of(instance).items()}
    deployment.lose_record()
    for item in list(store.list(PAYOUTS.names.snapshots)):
        store.delete(item.name)
    with deployment.instance() as instance:
        if deployment.settings.instance != "ephemeral":
            for feed in known.FEEDS.values():
                restore(instance, FeedStore(store, feed), change=True, say=print)
        for name, lines in versions.items():
            found = FeedRecord(instance, known.FEEDS[name]).versions()
            assert found == {line.wallet: line.version for line in lines if line.version}


def _removed(deployment: Deployment, wallets: list[str]) -> None:
    """A wallet is removed for all feeds; what is deleted of one is there of the other."""
    trades_store, store = deployment.store, FeedStore(deployment.store, PAYOUTS)
    assert [each.feed for each in _used(trades_store)] == [TRADES, PAYOUTS]
    with deployment.instance() as instance:
        trades, payouts = FeedRecord(instance, TRADES), FeedRecord(instance, PAYOUTS)
        versions, folder = trades.versions(), trades_store.names.segments
        objects = list(store.list(folder))
        assert revoke_records(payouts, wallets) == 1
        assert delete_segments(store, wallets, lambda: None) > 0
        assert payouts.versions() == {}
        assert (trades.versions(), list(store.list(folder))) == (versions, objects)
        stored_payouts(store, STRANGER, 5)
        found = retire(instance, store, deployment.warehouse, [STRANGER, UNKNOWN])
        assert (found.removed, found.unknown) == ([STRANGER], [UNKNOWN])
