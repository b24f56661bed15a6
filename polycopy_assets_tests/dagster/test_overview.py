"""The numbers of all wallets are a materialization that counts as no wallet's, and stay small."""

import dagster as dg
import pytest

from polycopy_assets.assets import step_record
from polycopy_assets.automation.situation import fetch_situation
from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import Kind
from polycopy_assets.record import attempts, overview, snapshot
from polycopy_assets.record.attempts import Attempt
from polycopy_assets.record.partitions import register, wallets_partitions
from polycopy_assets.record.private.failed_partitions import failed_partitions
from polycopy_assets.text import EXCERPT
from polycopy_assets_tests.deployment import Deployed, Deployment
from polycopy_assets_tests.of_trades import KEYS, record_in
from polycopy_assets_tests.years import everything, later, maintained

WALLETS = [f"0x{number:040x}" for number in range(1, 6)]


def overviews(instance: dg.DagsterInstance) -> list[dg.EventLogRecord]:
    found = instance.fetch_materializations(KEYS.wallets, limit=1000).records
    return [each for each in found if each.partition_key is None]


def test_without_a_record_it_makes_no_wallet_complete(deployment: Deployment):
    with deployment.instance() as instance:
        register(instance, WALLETS)
        overview.write(record_in(instance))
        assert len(overviews(instance)) == 1

        assert record_in(instance).is_empty(), "a lost record must still be noticed"
        assert record_in(instance).versions() == {}
        assert record_in(instance).latest_ids() == {}
        assert list(record_in(instance).read()) == []
        assert record_in(instance).latest(WALLETS[0]) is None
        assert record_in(instance).revoked() == {}
        assert attempts.latest(record_in(instance), WALLETS) == {}
        assert instance.get_materialized_partitions(KEYS.wallets) == set()
        assert fetch_situation(record_in(instance)).due == len(WALLETS), "all are fetched"


def test_no_reader_of_the_record_sees_it_and_old_ones_go(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = generate(83, 3, most_trades=8)
    wallets = [wallet.lower() for wallet in world.wallets()]
    monkeypatch.setattr(step_record, "TAG_EVERY_SECONDS", 0.0)
    with deployed(world) as (deployment, served), deployment.instance() as instance:
        served.state.faults.set_wallets({wallets[0]: "404"})
        deployment.want(wallets)
        deployment.fetch(instance)
        (run,) = instance.get_runs()
        assert run.tags[step_record.PROGRESS_TAG].startswith("3/3 wallets, 1 failed, at ")
        asked = dict(served.state.counts.requests)
        before = _read(instance, wallets)
        assert before["failed"] == {wallets[0]}

        # Newer than every record, and many: wallets come one by one.
        for wallet in WALLETS:
            register(instance, [wallet])
            overview.write(record_in(instance))
        assert len(overviews(instance)) == 1 + len(WALLETS)
        assert _read(instance, wallets) == before
        assert None not in snapshot.take(record_in(instance)).lines

        deployment.fetch(instance, wallets=wallets[1:])
        assert served.state.counts.requests.keys() == asked.keys()
        for wallet in wallets[1:]:
            assert record_in(instance).latest(wallet), wallet

        later(monkeypatch)
        read = everything(deployment, instance)
        maintained(instance)
        assert everything(deployment, instance) == read
        (left,) = overviews(instance)
        assert left.asset_materialization
        assert left.asset_materialization.metadata["wallets"].value == len(wallets) + len(WALLETS)


def test_it_is_small_however_many_wallets_fail(monkeypatch: pytest.MonkeyPatch):
    """Dagster keeps it for a month after each fetch."""
    failed = {
        wallet: Attempt(wallet=wallet, reason="x" * EXCERPT, kind=Kind.CONTRACT, number=1, at=1e9)
        for wallet in (f"0x{number:040x}" for number in range(2_000))
    }
    monkeypatch.setattr(overview, "registered", lambda instance: list(failed))
    monkeypatch.setattr(attempts, "latest", lambda instance, wallets: failed)
    with dg.instance_for_test() as instance:
        overview.write(record_in(instance))
        overview.write(record_in(instance))
        (only,) = overviews(instance)
        assert len(dg.serialize_value(only.event_log_entry)) < 12_000


def _read(instance: dg.DagsterInstance, wallets: list[str]) -> dict[str, object]:
    """What the fetch, the load, the reconciliation and Dagster's pages read of the wallets."""
    return {
        "versions": record_in(instance).versions(),
        "ids": dict(record_in(instance).latest_ids()),
        "records": dict(record_in(instance).read(wallets)),
        "attempts": dict(attempts.latest(record_in(instance), wallets)),
        "failed": set(failed_partitions(instance, KEYS.wallets, wallets_partitions, wallets)),
        "materialized": instance.get_materialized_partitions(KEYS.wallets),
    }
