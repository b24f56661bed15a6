"""Somebody notices by himself what the store has lost: a daily check, which takes no lock."""

import json
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets import audit, record, refetching
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.fetch import refetch
from polycopy_assets.schedules import daily_audit
from polycopy_assets.trades.segment import PREFIX, parse_name
from polycopy_assets.turns import SOURCE, WAREHOUSE
from polycopy_assets_tests.deployment import Deployment, sample_api
from polycopy_assets_tests.stores import KINDS, deployed


def segments(deployment: Deployment) -> list[str]:
    return [item.name for item in deployment.store.list(PREFIX) if parse_name(item.name)]


def audited(deployment: Deployment) -> dg.AssetCheckEvaluation:
    """What the job `audit` finds; it takes no turn of a fetch or a load, and runs nothing else."""
    with deployment.instance() as instance:
        for pool in (SOURCE, WAREHOUSE):
            instance.event_log_storage.claim_concurrency_slot(pool, "somebody", "else")
        job = build(deployment.settings).resolve_job_def("audit")
        done = job.execute_in_process(instance=instance, raise_on_error=False)
        instance.event_log_storage.free_concurrency_slots_for_run("somebody")
    assert done.success
    (found,) = done.get_asset_check_evaluations()
    assert found.check_name == "store_has_the_record"
    return found


def first(found: dg.AssetCheckEvaluation) -> Mapping[str, str]:
    value = found.metadata["first"].value
    assert isinstance(value, dict)
    return {wallet: str(why) for wallet, why in value.items()}


def test_the_audit_is_on_by_default_and_once_a_day():
    assert daily_audit.default_status == dg.DefaultScheduleStatus.RUNNING
    assert daily_audit.cron_schedule == "0 5 * * *"
    with dg.instance_for_test() as instance, dg.build_schedule_context(instance) as context:
        assert isinstance(daily_audit(context), dg.RunRequest)


@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_that_is_gone_or_rewritten_is_named_with_its_wallet(tmp_path: Path, kind: str):
    world = generate(91, 6, most_trades=20)
    with sample_api(world) as api, deployed(kind, tmp_path, api.url) as deployment:
        deployment.want(world.wallets())
        deployment.backfill()
        sound = audited(deployment)
        assert sound.passed
        assert sound.metadata["segments"].value == len(segments(deployment))
        gone, cut, *_ = segments(deployment)
        data = deployment.store.read(cut)
        for name in (gone, cut):
            deployment.store.delete(name)
        deployment.store.create(cut, data + b"x")
        api.state.counts.reset()
        found = audited(deployment)
        assert not found.passed
        assert {wallet: why.split(" ", 1)[1] for wallet, why in first(found).items()} == {
            gone.split("/")[1]: "is gone",
            cut.split("/")[1]: f"has {len(data) + 1} bytes, its record says {len(data)}",
        }
        assert "reconcile" in str(found.metadata["what_to_do"].value)
        assert not api.state.counts.log
        deployment.reconcile("--apply")
        assert audited(deployment).passed


def test_everything_is_read_once_in_a_round_and_a_silent_change_is_found(tmp_path: Path):
    world = generate(92, 12, whales=1, whale_trades=6_000, most_trades=20)
    with sample_api(world) as api:
        deployment = Deployment(tmp_path, api.url, POLYCOPY_SEGMENT_BYTES="3000")
        deployment.want(world.wallets())
        deployment.backfill()
        names = segments(deployment)
        assert len(names) > audit.ROUND_DAYS
        changed = tmp_path / "store" / names[3]
        data = bytearray(changed.read_bytes())
        data[-1] ^= 1
        changed.write_bytes(bytes(data))
        with deployment.instance() as instance:
            days = range(20_000, 20_000 + audit.ROUND_DAYS)
            found = [audit.audit(instance, deployment.store, day) for day in days]
        assert sum(each.read for each in found) == len(names)
        assert max(each.read for each in found) < len(names) / 4
        losses = [each.lost for each in found if each.lost]
        assert len(losses) == 1
        assert "another checksum" in losses[0][names[3].split("/")[1]]


def test_on_cloud_storage_a_silent_change_is_in_the_listing_and_nothing_is_read(tmp_path: Path):
    world = generate(93, 3, most_trades=20)
    with sample_api(world) as api, deployed("gcs", tmp_path, api.url) as deployment:
        deployment.want(world.wallets())
        deployment.backfill()
        name = next(n for n in segments(deployment) if len(deployment.store.read(n)) > 60)
        data = bytearray(deployment.store.read(name))
        data[-1] ^= 1
        deployment.store.delete(name)
        deployment.store.create(name, bytes(data))
        found = audited(deployment)
    assert "another checksum" in first(found)[name.split("/")[1]]
    assert found.metadata["segments_read"].value == 0


def test_a_wallet_that_is_recorded_anew_meanwhile_has_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(94, 4, most_trades=20)
    with sample_api(world) as api:
        deployment = Deployment(tmp_path, api.url)
        deployment.want(world.wallets())
        deployment.backfill()
        wallet = next(wallet.lower() for wallet in world.wallets() if world.truth(wallet))
        config = {"wallets": [wallet], "mode": "full"}
        job = build(deployment.settings).resolve_job_def("fetch")
        with deployment.instance() as instance:
            read_all = record.read_all

            def refetched_meanwhile(*args: object) -> object:
                monkeypatch.undo()
                found = list(read_all(*args))  # type: ignore[arg-type]
                job.execute_in_process(
                    instance=instance, run_config={"ops": {"wallet_trades": {"config": config}}}
                )
                return found

            monkeypatch.setattr(record, "read_all", refetched_meanwhile)
            assert not audit.audit(instance, deployment.store, 1).lost


def test_a_full_refetch_whose_note_is_lost_is_noted_and_the_next_backfill_ends_it(tmp_path: Path):
    world = generate(95, 3, most_trades=20)
    with sample_api(world) as api:
        deployment = Deployment(tmp_path, api.url)
        deployment.want(world.wallets())
        deployment.backfill()
        wallet = next(wallet.lower() for wallet in world.wallets() if world.truth(wallet))
        old = [name for name in segments(deployment) if wallet in name]
        refetch.begin(deployment.store, wallet, old)
        assert audited(deployment).passed
        with deployment.instance() as instance:
            assert refetching.unfinished(instance) == {wallet: refetching.MARKED}
        assert json.loads(deployment.here("status", "--json")[1])["remaining"] == 1
        assert deployment.here("backfill")[0] == 0
        assert refetch.marker_name(wallet) not in [i.name for i in deployment.store.list(PREFIX)]
        assert deployment.reconcile()["counts"] == {"consistent": 3}
