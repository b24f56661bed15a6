"""The sensors over simulated days: what they start, how often, and what the source is asked."""

import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus
from sqlalchemy import Engine, event

from polycopy_assets.assets.step_record import DOWN_TAG
from polycopy_assets.automation import policy
from polycopy_assets.automation.schedules import daily_refresh
from polycopy_assets.automation.sensors import (
    WALLETS_A_RUN,
    checks_due,
    dead_runs,
    new_trades,
    new_wallets,
)
from polycopy_assets.automation.situation import fetch_situation
from polycopy_assets.checks import wallets as wallet_checks
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.guard.heartbeat import LOCK_TAG, run_lock
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import this_process
from polycopy_assets.record import attempts
from polycopy_assets.record.attempts import RETRY_AFTER
from polycopy_assets.record.partitions import registered_at
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.days import (
    DAY,
    HOUR,
    MINUTE,
    Days,
    days,
    refresh_asked,
    skipped,
    switch,
    ticked,
)
from polycopy_assets_tests.deployment import Deployed, Deployment, sample_api, truth
from polycopy_assets_tests.deployment import new_trades as new_trades_of
from polycopy_assets_tests.of_trades import KEYS, record_in
from polycopy_assets_tests.old_job import OldJob

HOLD = (
    "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('held', flush=True);"
    "sys.stdin.read()"
)


def test_wallets_come_in_waves_some_fail_and_the_source_is_down_for_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(7, 120, most_trades=40)
    wallets = [wallet.lower() for wallet in world.wallets()]
    failing = set(wallets[10:14])
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        served.state.faults.set_wallets(dict.fromkeys(failing, "404"))
        simulated.want(wallets[:40])
        simulated.go_on(HOUR)
        simulated.want(wallets[40:60])
        simulated.go_on(6 * HOUR, every=30 * MINUTE)
        before = simulated.runs.copy()
        served.state.down = True
        simulated.want(wallets[60:])
        arrived = len(served.state.counts.arrivals)
        simulated.go_on(8 * HOUR)
        down_runs = simulated.runs["fetch"] - before["fetch"]
        down_requests = len(served.state.counts.arrivals) - arrived
        served.state.down = False
        simulated.go_on(6 * DAY, every=2 * HOUR)
        asked = served.state.counts.requests.copy()
        good = [wallet for wallet in wallets if wallet not in failing]
        assert simulated.deployment.table() == truth(world, good)
        assert sorted(attempts.failed(record_in(simulated.instance))) == sorted(failing)
        given_up = attempts.latest(record_in(simulated.instance), failing)
        runs = simulated.runs.copy()
        simulated.go_on(10 * DAY, every=DAY)

    # Down for eight hours: at most 1 + 1 + 1 + 1 tries in the first hour, then one an hour.
    assert 4 <= down_runs <= 12
    assert down_requests == 0, "a dead source is asked for its status alone"
    # Each good wallet once; each failing one as often as was promised, then never again.
    assert {asked[wallet] for wallet in failing} == {len(RETRY_AFTER) + 1}
    assert {asked[wallet] for wallet in good} == {1}
    assert {each.number for each in given_up.values()} == {len(RETRY_AFTER) + 1}
    assert simulated.runs == runs, "nothing is asked for for ever"
    # One load a wave, and none for an attempt that brought nothing.
    assert runs["load"] <= 4
    assert "4 failed and are not tried again" in simulated.told[-2]


def test_an_outage_uses_up_nobodys_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = generate(8, 30, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.want(wallets)
        served.state.down = True
        simulated.go_on(DAY, every=HOUR)
        assert attempts.latest(record_in(simulated.instance), wallets) == {}
        assert not attempts.failed(record_in(simulated.instance))
        run = simulated.instance.get_runs(dg.RunsFilter(job_name="fetch"), limit=1)[0]
        assert DOWN_TAG in run.tags
        served.state.down = False
        simulated.go_on(2 * HOUR, every=HOUR)
        assert simulated.deployment.table() == truth(world)


def test_a_reconciliation_that_fetched_ends_the_waits_after_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(8, 3, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.want(wallets)
        served.state.down = True
        simulated.go_on(5 * HOUR, every=HOUR)
        assert fetch_situation(record_in(simulated.instance)).empty_runs
        simulated.deployment.reconcile()
        assert fetch_situation(record_in(simulated.instance)).empty_runs, "a dry run proves nothing"
        served.state.down = False
        old = OldJob(simulated.deployment)
        old.tick(wallets[0], 5, at=LAST)
        old.write()
        simulated.deployment.reconcile("--apply")
        assert not fetch_situation(record_in(simulated.instance)).empty_runs


def test_trades_that_nobody_gets_are_an_outage_though_the_source_says_it_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(8, 60, most_trades=5)
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.want([wallet.lower() for wallet in world.wallets()])
        served.state.faults.set({"unavailable": 1.0})
        simulated.tick()
        run = simulated.instance.get_runs(dg.RunsFilter(job_name="fetch"), limit=1)[0]
        assert DOWN_TAG in run.tags
        # Those that were under way, and no more: 24, and what ran beside them.
        assert len(served.state.counts.arrivals) <= 2 * (24 + 16)
        served.state.faults.set({})
        simulated.go_on(2 * HOUR)
        assert simulated.deployment.table() == truth(world)


def test_wallets_that_were_there_before_the_sensor_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(9, 12, most_trades=20)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.deployment.want(wallets)
        simulated.tick()
        simulated.tick()
        assert simulated.runs == {"fetch": 1, "load": 1}
        assert simulated.deployment.table() == truth(world)


def test_what_is_no_wallet_is_named_in_every_tick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = generate(10, 2, most_trades=5)
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.want([*world.wallets(), "0xnonsense"])
        simulated.go_on(30 * MINUTE)
        assert simulated.deployment.table() == truth(world)
    assert any("'0xnonsense'" in told for told in simulated.told)
    assert "'0xnonsense'" in [told for told in simulated.told if "nothing to fetch" in told][-1]


def test_traders_is_read_when_it_changed_and_once_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    read: list[float] = []
    original = DuckDBWarehouse.traders

    def counted(self: DuckDBWarehouse) -> list[str | None]:
        read.append(0.0)
        return original(self)

    world = generate(11, 4, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        monkeypatch.setattr(DuckDBWarehouse, "traders", counted)
        simulated.want(wallets[:2])
        simulated.go_on(30 * MINUTE, every=MINUTE)
        # Once for the wallets, and once more because loading them changed the file.
        assert len(read) == 2
        simulated.want(wallets[2:])
        simulated.tick()
        assert len(read) == 3
        simulated.go_on(2 * HOUR, every=10 * MINUTE)
        assert len(read) <= 6
        assert simulated.deployment.table() == truth(world)


def test_ten_thousand_new_wallets_are_one_tick_and_a_bounded_run(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
):
    wallets = [f"0x{n:040x}" for n in range(10_000)]
    with deployment.instance() as instance:
        simulated = Days(deployment, instance, monkeypatch)
        simulated.want(wallets)
        statements: list[str] = []
        note = lambda *told: statements.append(told[2])  # noqa: E731 - to be taken off again
        event.listen(Engine, "before_cursor_execute", note)
        try:
            result = ticked(new_wallets, instance, deployment)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        assert len(instance.get_dynamic_partitions("wallets")) == 10_000
    (request,) = result.run_requests or []
    config = request.run_config["ops"]["wallet_trades"]["config"]
    assert config == {"select": "due", "limit": WALLETS_A_RUN}
    assert len(statements) < 100, "a tick has 60 seconds: nothing is asked wallet by wallet"


def test_a_table_that_is_being_loaded_does_not_stop_the_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(12, 3, most_trades=5)
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.deployment.want([wallet.lower() for wallet in world.wallets()])
        holder = subprocess.Popen(
            [
                sys.executable,
                "-c",
                HOLD,
                simulated.deployment.settings.warehouse,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            result = ticked(new_wallets, simulated.instance, simulated.deployment)
        finally:
            holder.communicate()
        assert len(result.run_requests or ()) == 1
        simulated.tick()
        assert simulated.deployment.table() == truth(world)


def test_a_run_whose_lock_is_free_is_ended(deployment: Deployment):
    with deployment.instance() as instance:
        job = build(deployment.settings).resolve_job_def("fetch")
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        instance.add_run_tags(run.run_id, {LOCK_TAG: run_lock(run.run_id)})
        lock = instance_locks(instance).try_acquire(
            run_lock(run.run_id), this_process("fetch", run.run_id)
        )
        assert lock
        assert skipped(ticked(dead_runs, instance, deployment)) == "no run is dead"
        lock.release()
        assert run.run_id[:8] in skipped(ticked(dead_runs, instance, deployment))
        (ended,) = instance.get_runs()
        assert ended.status == dg.DagsterRunStatus.FAILURE


def test_a_load_that_fails_is_tried_again_later_and_then_waits_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(13, 3, most_trades=20)
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.deployment.want([wallet.lower() for wallet in world.wallets()])
        simulated.deployment.backfill()
        whole = Path(simulated.deployment.settings.warehouse).read_bytes()
        with simulated.deployment.instance() as instance:
            instance.report_runless_asset_event(
                dg.AssetMaterialization("trades", metadata={"record": "of another time"})
            )
        Path(simulated.deployment.settings.warehouse).write_bytes(b"damaged")
        for _ in range(60):
            simulated.now += HOUR
            simulated.follow("load", ticked(new_trades, simulated.instance, simulated.deployment))
        assert simulated.runs["load"] == len(policy.LOAD_WAITS) + 1
        assert "launch the job `load`" in simulated.told[-1]
        Path(simulated.deployment.settings.warehouse).write_bytes(whole)
        job = build(simulated.deployment.settings).resolve_job_def("load")
        assert job.execute_in_process(instance=simulated.instance).success
        told = skipped(ticked(new_trades, simulated.instance, simulated.deployment))
        assert told == "the table has everything that is recorded"


def test_a_table_into_which_nothing_new_comes_turns_stale_only_while_a_refresh_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(13, 3, most_trades=20)
    with sample_api(world, lag_seconds=3000) as served, days(tmp_path, served, monkeypatch) as sim:
        sim.deployment.want([wallet.lower() for wallet in world.wallets()])
        sim.deployment.backfill()
        for refreshed, loads in ((False, 0), (True, 1), (False, 1)):
            sim.now += 13 * HOUR
            if refreshed:
                served.state.lag_seconds -= 1000
                assert sim.deployment.backfill(refresh=True).trades_fetched == 0
            for _ in range(2):
                sim.follow("load", ticked(new_trades, sim.instance, sim.deployment))
            assert sim.runs["load"] == loads
        switch(sim.instance, InstigatorStatus.STOPPED)
        sim.follow("load", ticked(new_trades, sim.instance, sim.deployment))
        assert sim.runs["load"] == 2, "nobody has asked for a daily refresh"
        assert sim.deployment.table() == truth(world)


def test_the_checks_run_after_work_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(14, 2, most_trades=5)
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.deployment.want([wallet.lower() for wallet in world.wallets()])
        for _ in range(3):
            simulated.follow("check", ticked(checks_due, simulated.instance, simulated.deployment))
        assert simulated.runs["check"] == 1
        simulated.deployment.backfill()
        for _ in range(3):
            simulated.follow("check", ticked(checks_due, simulated.instance, simulated.deployment))
        assert simulated.runs["check"] == 2
        simulated.deployment.reconcile()
        simulated.follow("check", ticked(checks_due, simulated.instance, simulated.deployment))
        assert simulated.runs["check"] == 2, "a dry reconciliation changes nothing to check"


def test_the_checks_see_what_the_ui_started_and_what_ended_while_they_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(14, 2, most_trades=5)
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.deployment.want([wallet.lower() for wallet in world.wallets()])
        keys = simulated.instance.get_dynamic_partitions("wallets")
        definitions = build(simulated.deployment.settings)
        job = definitions.resolve_implicit_global_asset_job_def()

        def materialize(key: str) -> None:
            """As *Materialize* does in the UI, which knows no job."""
            job.execute_in_process(
                instance=simulated.instance,
                partition_key=key,
                asset_selection=[KEYS.wallets],
            )

        def meanwhile(instance: dg.DagsterInstance) -> dict[str, float]:
            monkeypatch.setattr(wallet_checks, "registered_at", registered_at)
            materialize(keys[1])
            return registered_at(instance)

        def check() -> int:
            simulated.follow("check", ticked(checks_due, simulated.instance, simulated.deployment))
            return simulated.runs["check"]

        assert [check(), check()] == [1, 1]
        monkeypatch.setattr(wallet_checks, "registered_at", meanwhile)
        materialize(keys[0])
        assert len(record_in(simulated.instance).versions()) == 1
        assert check() == 2
        assert len(record_in(simulated.instance).versions()) == 2
        assert [check(), check()] == [3, 3]


def test_the_daily_refresh_is_off_and_never_runs_beside_itself(deployed: Deployed):
    assert daily_refresh.default_status == dg.DefaultScheduleStatus.STOPPED
    world = generate(15, 4, most_trades=20)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with deployed(world, lag_seconds=3000) as (deployment, served):
        deployment.want(wallets)
        deployment.backfill()
        served.state.lag_seconds = 0
        world.add(new_trades_of(wallets[0], int(time.time()) - 400, 7))
        with deployment.instance() as instance:
            request = refresh_asked(instance, deployment)
            assert isinstance(request, dg.RunRequest)
            job = build(deployment.settings).resolve_job_def("fetch")
            run = instance.create_run_for_job(
                job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED
            )
            refused = refresh_asked(instance, deployment)
            assert isinstance(refused, dg.SkipReason)
            instance.report_run_canceled(run)
            done = job.execute_in_process(
                instance=instance, run_config=request.run_config, tags=dict(request.tags)
            )
            assert done.success
        deployment.backfill()
    assert deployment.table() == truth(world)


def test_a_store_that_cannot_be_written_is_not_hammered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(16, 3, most_trades=20)
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.deployment.want(world.wallets())  # registered: the sensor needs the store for it
        store = Path(simulated.deployment.settings.store)
        store.write_text("a file where a directory should be")
        # Not an hour: the runs themselves end in real time.
        simulated.go_on(50 * MINUTE, every=MINUTE)
        assert 3 <= simulated.runs["fetch"] <= 6
        assert "fetched nothing" in "".join(simulated.told)
        store.unlink()
        simulated.go_on(2 * HOUR)
        assert simulated.deployment.table() == truth(world)
