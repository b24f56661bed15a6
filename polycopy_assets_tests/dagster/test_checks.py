"""The checks: what is wrong right now is named, with what to do; what cannot be computed fails."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from polycopy_assets.automation import sensors
from polycopy_assets.batches.plan import new_claims
from polycopy_assets.checks import wallets as wallet_checks
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.pipeline import combine as recombine
from polycopy_assets.record.partitions import registered_at
from polycopy_assets.trades.batch import Claim
from polycopy_assets_tests.days import skipped, ticked
from polycopy_assets_tests.deployment import (
    Deployed,
    Deployment,
    new_trades,
    records_of,
    truth,
)
from polycopy_assets_tests.of_trades import record_in


def checked(
    deployment: Deployment, instance: dg.DagsterInstance, job: str
) -> dict[str, dg.AssetCheckEvaluation]:
    result = build(deployment.settings).resolve_job_def(job).execute_in_process(instance=instance)
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def text(evaluation: dg.AssetCheckEvaluation, key: str) -> str:
    return str(evaluation.metadata[key].value)


def test_failed_and_late_wallets_and_broken_contracts_are_named(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = generate(31, 8, most_trades=30)
    wallets = sorted((w.lower() for w in world.wallets()), key=lambda w: -len(world.truth(w)))
    broken, refused = wallets[:2]
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({broken: "missing_field", refused: "404"})
        deployment.want(wallets)
        deployment.backfill()
        with deployment.instance() as instance:
            found = checked(deployment, instance, "check")
            assert not found["no_wallet_failed"].passed
            assert "2 wallets failed" in (found["no_wallet_failed"].description or "")
            assert text(found["no_wallet_failed"], "first").count(refused) == 1
            assert "select: failed" in text(found["no_wallet_failed"], "what_to_do")
            assert not found["no_contract_breaks"].passed
            assert broken in (found["no_contract_breaks"].description or "")
            assert refused not in text(found["no_contract_breaks"], "first")
            assert found["no_wallet_late"].passed

            now = max(registered_at(instance).values())
            monkeypatch.setattr(wallet_checks, "time", lambda: now + 25 * 3600)
            late = checked(deployment, instance, "check")["no_wallet_late"]
            assert not late.passed
            assert "2 wallets are not complete after 24 hours" in (late.description or "")
            assert "new_wallets" in text(late, "what_to_do")

            served.state.faults.set_wallets({})
            deployment.backfill()
            assert all(each.passed for each in checked(deployment, instance, "check").values())


def test_wallets_that_are_fetched_anew_while_they_are_combined_wait_for_the_next_load(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = generate(36, 4, most_trades=40)
    replaced = [wallet.lower() for wallet in world.wallets()][:2]
    with deployed(world, lag_seconds=3000) as (deployment, served):
        deployment.want(world.wallets())
        with deployment.instance() as instance:
            fetch = build(deployment.settings).resolve_job_def("fetch")
            assert fetch.execute_in_process(instance=instance).success
            served.state.lag_seconds = 0

            def meanwhile(*args: Any) -> list[Claim]:
                """A full refetch between what the combine reads of the record and of the store."""
                monkeypatch.undo()
                claims = new_claims(*args)
                config = {"wallets": replaced, "mode": "full"}
                assert fetch.execute_in_process(
                    instance=instance, run_config={"ops": {"wallet_trades": {"config": config}}}
                ).success
                return claims

            monkeypatch.setattr(recombine, "new_claims", meanwhile)
            found = checked(deployment, instance, "load")["record_has_its_data"]
            assert found.passed
            assert deployment.table() == truth(world, world.wallets()[2:])
            assert not skipped(ticked(sensors.new_trades, instance, deployment))
            assert all(each.passed for each in checked(deployment, instance, "load").values())
            lost = records_of(instance, replaced[:1])[0].segments[0]
            deployment.store.delete(lost.name)
            config = {"ops": {"combined_trades": {"config": {"force": replaced[:1]}}}}
            load = build(deployment.settings).resolve_job_def("load")
            result = load.execute_in_process(instance=instance, run_config=config)
            names = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
            assert not names["record_has_its_data"], "what is really gone is still told"
    assert deployment.table() == truth(world)


def test_fields_that_nobody_knows_are_a_warning(deployed: Deployed):
    world = generate(32, 3, most_trades=30)
    wallets = sorted((w.lower() for w in world.wallets()), key=lambda w: -len(world.truth(w)))
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({wallets[0]: "extra_field"})
        deployment.want(wallets)
        deployment.backfill()
        with deployment.instance() as instance:
            found = checked(deployment, instance, "check")["no_contract_breaks"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert wallets[0] in (found.description or "")


def test_rows_that_are_not_combined_yet_are_not_missed_in_the_table(deployed: Deployed):
    """A load that runs beside a fetch must not be told that the table lacks rows."""
    world = generate(33, 4, most_trades=30)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with deployed(world) as (deployment, _):
        deployment.want(wallets[:3])
        deployment.backfill()
        deployment.want(wallets[3:])
        with deployment.instance() as instance:
            definitions = build(deployment.settings)
            assert (
                definitions.resolve_job_def("fetch").execute_in_process(instance=instance).success
            )
            job = definitions.resolve_job_def("load").get_subset(
                asset_check_selection={
                    dg.AssetCheckKey(dg.AssetKey("trades"), "rows_match_record")
                },
                asset_selection=set(),
            )
            result = job.execute_in_process(instance=instance)
            (found,) = result.get_asset_check_evaluations()
            assert found.passed
            assert found.metadata["not_combined_yet"].value == 1
            deployment.execute(
                "DELETE FROM trades WHERE wallet_address = @wallet", wallet=wallets[0]
            )
            (found,) = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    assert found.passed is (not world.truth(world.wallets()[0]))


def test_a_check_that_cannot_be_computed_fails_and_says_why(deployed: Deployed):
    world = generate(34, 2, most_trades=30)
    with deployed(world) as (deployment, _):
        deployment.want([wallet.lower() for wallet in world.wallets()])
        deployment.backfill()
        Path(deployment.settings.warehouse).write_bytes(b"this is no database")
        with deployment.instance() as instance:
            job = (
                build(deployment.settings)
                .resolve_job_def("load")
                .get_subset(
                    asset_check_selection={
                        dg.AssetCheckKey(dg.AssetKey("trades"), name)
                        for name in ("rows_match_record", "no_duplicate_ids")
                    },
                    asset_selection=set(),
                )
            )
            result = job.execute_in_process(instance=instance)
    evaluations = result.get_asset_check_evaluations()
    assert result.success
    assert len(evaluations) == 2
    for each in evaluations:
        assert not each.passed
        assert "it cannot be computed: " in (each.description or "")


def test_a_wallet_whose_refresh_failed_stays_complete_and_is_named(deployed: Deployed):
    world = generate(35, 3, most_trades=30)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with deployed(world, lag_seconds=100) as (deployment, served):
        deployment.want(wallets)
        deployment.backfill()
        served.state.lag_seconds = 0
        world.add(new_trades(wallets[0], 1_800_000_000, 3))
        served.state.faults.set_wallets({wallets[0]: "404"})
        deployment.backfill(refresh=True)
        with deployment.instance() as instance:
            assert set(record_in(instance).versions()) == set(wallets)
            found = checked(deployment, instance, "check")
    assert not found["no_wallet_failed"].passed
    assert found["no_wallet_late"].passed
