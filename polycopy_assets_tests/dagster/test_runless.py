"""Many materializations that belong to no run: written in batches, seen like any other."""

from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.record import materializations
from polycopy_assets.record.partitions import register, wallets_partitions
from polycopy_assets.record.private import runless
from polycopy_assets.record.private.database import event_log
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.of_trades import KEYS, record_in

WALLETS = [f"0x{number:040x}" for number in range(1200)]
VERSION = "rows-3-0123456789abcdef"


def event(wallet: str, version: str = VERSION) -> dg.AssetMaterialization:
    return materializations.materialization(
        TRADES, wallet, version, {"rows": dg.MetadataValue.int(3)}
    )


def test_a_batch_is_recorded_as_if_each_had_been_reported_by_itself(tmp_path: Path):
    with Deployment(tmp_path, "http://127.0.0.1:9").instance() as instance:
        register(instance, WALLETS)
        instance.report_runless_asset_event(event(WALLETS[0]))
        before = instance.event_log_storage.get_latest_storage_id_by_partition(
            KEYS.wallets, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        sizes = list(runless.write(instance, map(event, WALLETS[1:])))
        assert sizes == [500, 500, 199]
        assert record_in(instance).versions() == dict.fromkeys(WALLETS, VERSION)
        statuses = instance.get_status_by_partition(KEYS.wallets, WALLETS, wallets_partitions)
        assert statuses is not None
        assert {str(status) for status in statuses.values()} == {
            "AssetPartitionStatus.MATERIALIZED"
        }
        one, other = (
            instance.fetch_materializations(
                dg.AssetRecordsFilter(KEYS.wallets, asset_partitions=[wallet]),
                limit=5,
            ).records
            for wallet in WALLETS[:2]
        )
        assert (len(one), len(other)) == (1, 1)
        assert one[0].run_id == other[0].run_id == ""
        assert one[0].event_log_entry.job_name == other[0].event_log_entry.job_name
        assert other[0].storage_id > before[WALLETS[0]]
        latest = instance.get_latest_materialization_event(KEYS.wallets)
        assert latest is not None
        assert latest.asset_materialization is not None
        assert latest.asset_materialization.partition == WALLETS[-1]


def test_a_batch_that_breaks_off_is_not_recorded_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise RuntimeError("killed")

    with Deployment(tmp_path, "http://127.0.0.1:9").instance() as instance:
        with monkeypatch.context() as patch:
            patch.setattr(type(event_log(instance)), "_store_asset_event", broken)
            writing = runless.write(instance, map(event, WALLETS[:10]))
            with pytest.raises(RuntimeError, match="killed"):
                next(writing)
        assert record_in(instance).versions() == {}
        list(runless.write(instance, map(event, WALLETS[:10])))
        assert len(record_in(instance).versions()) == 10


def test_a_record_that_is_revoked_is_none(tmp_path: Path):
    with Deployment(tmp_path, "http://127.0.0.1:9").instance() as instance:
        register(instance, WALLETS[:3])
        list(runless.write(instance, map(event, WALLETS[:3])))
        list(
            runless.write(
                instance, [materializations.revocation(TRADES, WALLETS[1], "its data is gone", 5)]
            )
        )
        assert set(record_in(instance).versions()) == {WALLETS[0], WALLETS[2]}
        assert record_in(instance).latest(WALLETS[1]) is None
        list(runless.write(instance, [event(WALLETS[1])]))
        assert len(record_in(instance).versions()) == 3
