"""Somebody notices by himself what the store has lost: a daily check, which takes no lock."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from polycopy_assets.automation.schedules import daily_audit
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import StoreError
from polycopy_assets.fetch import refetch
from polycopy_assets.guard.exclusive import SOURCE, WAREHOUSE
from polycopy_assets.reconcile import audit
from polycopy_assets.record import refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.store.base import Stored
from polycopy_assets.store.local import LocalStore
from polycopy_assets_tests.deployment import Deployed, Deployment, sample_api, truth
from polycopy_assets_tests.of_trades import (
    PREFIX,
    marker_name,
    of_trades,
    parse_name,
    record_in,
    wallet_prefix,
)
from polycopy_assets_tests.stores import KINDS, deployed_on


def segments(deployment: Deployment) -> list[str]:
    return [item.name for item in deployment.store.list(PREFIX) if parse_name(item.name)]


def audited(deployment: Deployment) -> dg.AssetCheckEvaluation:
    """What the job `audit` finds; it takes no lock of a fetch or a load, and runs nothing else."""
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


@pytest.mark.parametrize("shares", [frozenset(), frozenset(range(audit.AUDIT_ROUND_DAYS))])
@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_that_is_gone_or_rewritten_is_named_with_its_wallet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, shares: frozenset[int]
):
    """However many segments are read on that day: what the listing shows is said first."""
    monkeypatch.setattr(audit, "due", lambda *_: shares)
    world = generate(91, 6, most_trades=20)
    with sample_api(world) as api, deployed_on(kind, tmp_path, api.url) as deployment:
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


def test_everything_is_read_once_in_a_round_and_a_silent_change_is_found(
    tmp_path: Path, deployed: Deployed
):
    world = generate(92, 40, whales=1, whale_trades=6_000, most_trades=20)
    with deployed(world, POLYCOPY_SEGMENT_BYTES="3000") as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        names = segments(deployment)
        assert len(names) > audit.AUDIT_ROUND_DAYS
        changed = tmp_path / "store" / names[3]
        data = bytearray(changed.read_bytes())
        data[-1] ^= 1
        changed.write_bytes(bytes(data))
        with deployment.instance() as instance:
            days = range(20_000, 20_000 + audit.AUDIT_ROUND_DAYS)
            found = [audit.audit(instance, deployment.store, day) for day in days]
        assert sum(each.read for each in found) >= len(names)
        assert found[0].read < len(names) / 4
        wallet = names[3].split("/")[1]
        losses = [each.lost for each in found if each.lost]
        assert losses == losses[:1] * len(losses), "it stays lost until it is fetched again"
        assert "a different checksum" in losses[0][wallet]
        assert found[-1].lost
        told = deployment.reconcile("--apply")
        assert told["counts"]["ghost"] == 1
        with deployment.instance() as instance:
            assert not audit.audit(instance, deployment.store, days[-1]).lost
            assert audit.suspected(record_in(instance)) == frozenset()
        assert deployment.table() == truth(world)


def test_what_days_without_an_audit_have_missed_is_caught_up_with(deployed: Deployed):
    world = generate(96, 12, whales=1, whale_trades=6_000, most_trades=20)
    with deployed(world, POLYCOPY_SEGMENT_BYTES="3000") as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        names = segments(deployment)
        with deployment.instance() as instance:

            def read(day: int) -> int:
                return audit.audit(instance, deployment.store, day).read

            monday = 20_000 - 20_000 % 7
            days = [monday + each for each in range(4 * 7) if each % 7 < 5]
            counts = [read(day) for day in days]
            assert sum(counts) + read(monday + 28) >= len(names), "weekends are never read"
            assert read(days[-1] + 900) == len(names), "one round at most"
            again = read(days[-1] + 900)
            assert again < len(names) / 4, "only what is due, also if it was read today"
            assert read(days[-1] + 901) < len(names) / 4


def test_an_audit_that_breaks_off_has_read_nothing(tmp_path: Path, deployed: Deployed):
    world = generate(97, 6, most_trades=20)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        names = segments(deployment)
        with deployment.instance() as instance:
            audit.audit(instance, deployment.store, 20_000)
            with pytest.raises(StoreError, match="no disk"):
                audit.audit(instance, of_trades(_Broken(tmp_path / "store")), 20_100)
            assert audit.audit(instance, deployment.store, 20_100).read == len(names)


def test_a_segment_that_cannot_be_read_is_lost_to_its_wallet_and_the_others_are_read(
    tmp_path: Path,
    deployed: Deployed,
):
    world = generate(98, 6, most_trades=20)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        sealed = segments(deployment)[2]

        class Sealed(LocalStore):
            def read(self, name: str) -> bytes:
                if name == sealed:
                    raise StoreError(f"cannot read {name}: Input/output error")
                return super().read(name)

        with deployment.instance() as instance:
            found = [
                audit.audit(instance, of_trades(Sealed(tmp_path / "store")), day)
                for day in (20_000, *[20_000 + audit.AUDIT_ROUND_DAYS] * 2)
            ]
    assert found[1].read == len(segments(deployment))
    assert found[1].lost.keys() == {sealed.split("/")[1]}
    assert "Input/output error" in found[1].lost[sealed.split("/")[1]]
    assert found[2].read < found[1].read, "the audit has ended"


class _Broken(LocalStore):
    """A store that fails when the listing has been read."""

    def left_out(self, prefix: str) -> Iterator[tuple[str, str]]:
        raise StoreError(f"no disk below {prefix}")


@pytest.mark.parametrize("latest", [None, 10, 49, 72, 73, 99, 100, 101, 10**9])
def test_whatever_became_due_since_the_latest_audit_is_due(latest: int | None):
    missed = range(73, 101) if latest is None else range(latest + 1, 101)
    want = {100 % 28} if latest is None else {day % 28 for day in (*missed, 100)}
    everything = latest is not None and (latest > 100 or latest <= 72)
    assert audit.due(latest, 100) == (frozenset(range(28)) if everything else want)


@pytest.mark.parametrize("stray", ["trades/", "trades//x", "trades/0/x", "trades/x", "trades/~/x"])
def test_what_others_put_into_the_store_makes_no_wallet_look_empty(stray: str):
    wallets = [f"0x{number:040x}" for number in range(5)]
    names = [f"{wallet_prefix(wallet)}0000000000-0000000009.jsonl.gz" for wallet in wallets]
    marker = marker_name(wallets[2])

    class Listed(LocalStore):
        def list(self, prefix: str) -> Iterator[Stored]:
            return (Stored(x, 1) for x in sorted([*names, marker, stray]) if x.startswith(prefix))

    records = iter([(wallet, StoreError("")) for wallet in wallets])
    found = audit._with_listing(records, of_trades(Listed(Path("nowhere"))))
    assert [len(listed) for _, listed in found] == [1, 1, 2, 1, 1]


def test_on_cloud_storage_a_silent_change_is_in_the_listing_and_nothing_is_read(tmp_path: Path):
    world = generate(93, 3, most_trades=20)
    with sample_api(world) as api, deployed_on("gcs", tmp_path, api.url) as deployment:
        deployment.want(world.wallets())
        deployment.backfill()
        name = next(n for n in segments(deployment) if len(deployment.store.read(n)) > 60)
        data = bytearray(deployment.store.read(name))
        data[-1] ^= 1
        deployment.store.delete(name)
        deployment.store.create(name, bytes(data))
        found = audited(deployment)
    assert "a different checksum" in first(found)[name.split("/")[1]]
    assert found.metadata["segments_read"].value == 0


def test_a_wallet_that_is_recorded_anew_meanwhile_has_lost_nothing(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = generate(94, 4, most_trades=20)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        wallet = next(wallet.lower() for wallet in world.wallets() if world.truth(wallet))
        config = {"wallets": [wallet], "mode": "full"}
        job = build(deployment.settings).resolve_job_def("fetch")
        with deployment.instance() as instance:
            read = FeedRecord.read

            def refetched_meanwhile(*args: Any) -> object:
                monkeypatch.undo()
                found = list(read(*args))
                job.execute_in_process(
                    instance=instance, run_config={"ops": {"wallet_trades": {"config": config}}}
                )
                return found

            monkeypatch.setattr(FeedRecord, "read", refetched_meanwhile)
            assert not audit.audit(instance, deployment.store, 1).lost


def test_a_full_refetch_whose_note_is_lost_is_noted_and_the_next_backfill_ends_it(
    deployed: Deployed,
):
    world = generate(95, 3, most_trades=20)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        wallet = next(wallet.lower() for wallet in world.wallets() if world.truth(wallet))
        old = [name for name in segments(deployment) if wallet in name]
        refetch.begin(deployment.store, wallet, old)
        assert audited(deployment).passed
        with deployment.instance() as instance:
            assert refetching.unfinished(record_in(instance)) == {wallet: refetching.State.MARKED}
        assert json.loads(deployment.here("status", "--json")[1])["remaining"] == 1
        assert deployment.here("backfill")[0] == 0
        assert marker_name(wallet) not in [i.name for i in deployment.store.list(PREFIX)]
        assert deployment.reconcile()["counts"] == {"consistent": 3}
