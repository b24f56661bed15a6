"""Runs that die or hang, under `dagster dev`: they block nothing, and it goes on by itself."""

import os
import signal
import sqlite3
import time
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployed, truth
from polycopy_assets_tests.dev import Ui, dagster_dev, processes, wait_for
from polycopy_assets_tests.of_trades import record_in

pytestmark = [pytest.mark.dev, pytest.mark.timeout(600)]
ENDED = {"COMPLETED_SUCCESS", "COMPLETED_FAILED", "COMPLETED", "FAILED", "CANCELED"}


def _run_of(instance: dg.DagsterInstance, backfill_id: str) -> dg.DagsterRun:
    wait_for(lambda: _runs(instance, backfill_id), 90, "a run of the backfill")
    return _runs(instance, backfill_id)[0]


def _runs(instance: dg.DagsterInstance, backfill_id: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id})))


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def _some(instance: dg.DagsterInstance, count: int) -> set[str]:
    wait_for(lambda: len(record_in(instance).versions()) >= count, 120, f"{count} wallets")
    return set(record_in(instance).versions())


def test_a_terminated_run_stops_at_once_and_a_hanging_one_is_stopped(deployed: Deployed):
    world = generate(71, 300, most_trades=5)
    keys = [wallet.lower() for wallet in world.wallets()]
    with deployed(world, POLYCOPY_CONCURRENCY="4", POLYCOPY_TIMEOUT="600") as (deployment, served):
        served.state.latency = 0.5
        deployment.want(keys)
        with dagster_dev(deployment) as ui, deployment.instance() as instance:
            run = _run_of(instance, ui.launch_backfill(keys))
            recorded = _some(instance, 5)
            started = time.monotonic()
            ui.terminate(run.run_id)
            wait_for(
                lambda: _status(instance, run.run_id) == dg.DagsterRunStatus.CANCELED,
                30,
                "the end of a run that was told to stop",
            )
            print(f"stopped {time.monotonic() - started:.1f} s after it was told to")
            time.sleep(2)
            kept = set(record_in(instance).versions())
            assert recorded <= kept
            asked = dict(served.state.counts.requests)
            time.sleep(3)
            assert dict(served.state.counts.requests) == asked, "it goes on after its end"

            # Now a run that hangs for ever: nothing answers, and the time-out is long.
            served.state.latency = 500.0
            left = [key for key in keys if key not in kept]
            hanging = _run_of(
                instance,
                ui.launch_backfill(
                    left, tags={"dagster/max_runtime": "5", "dagster/max_retries": "0"}
                ),
            )
            took = wait_for(
                lambda: (
                    _status(instance, hanging.run_id)
                    in {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
                ),
                180,
                "its end",
            )
            print(f"a run that hung was ended after {took:.0f} s, of which it was allowed 5")
            served.state.latency = 0.0
            backfill = ui.launch_backfill(left)
            wait_for(lambda: ui.backfill_status(backfill) in ENDED, 180, "the rest")
            assert set(record_in(instance).versions()) == set(keys)
    assert {served.state.counts.requests[wallet] for wallet in kept} == {1}
    deployment.backfill()
    assert deployment.table() == truth(world)


@pytest.mark.files
def test_a_locked_database_is_waited_for(deployed: Deployed):
    world = generate(72, 300, most_trades=5)
    keys = [wallet.lower() for wallet in world.wallets()]
    with deployed(world, POLYCOPY_CONCURRENCY="4") as (deployment, served):
        served.state.latency = 0.1
        deployment.want(keys)
        with dagster_dev(deployment) as ui, deployment.instance() as instance:
            backfill = ui.launch_backfill(keys)
            run = _run_of(instance, backfill)
            _some(instance, 5)
            lock = sqlite3.connect(
                Path(deployment.settings.home) / "history" / "runs" / "index.db", timeout=60
            )
            lock.execute("BEGIN EXCLUSIVE")
            time.sleep(20)
            lock.rollback()
            lock.close()
            took = wait_for(lambda: ui.backfill_status(backfill) in ENDED, 240, "the end")
            print(f"ended {took:.0f} s after the database was free again")
            assert _status(instance, run.run_id) == dg.DagsterRunStatus.SUCCESS
            assert set(record_in(instance).versions()) == set(keys)
    assert set(served.state.counts.requests.values()) == {1}


def test_after_the_machine_vanished_it_goes_on_where_it_was(deployed: Deployed):
    world = generate(73, 400, most_trades=5)
    keys = [wallet.lower() for wallet in world.wallets()]
    with deployed(world, POLYCOPY_CONCURRENCY="4") as (deployment, served):
        served.state.latency = 0.3
        deployment.want(keys)
        with dagster_dev(deployment) as ui, deployment.instance() as instance:
            run = _run_of(instance, ui.launch_backfill(keys))
            _some(instance, 5)
            for pid in processes(ui.leader):
                os.kill(pid, signal.SIGKILL)
        with deployment.instance() as instance:
            recorded = set(record_in(instance).versions())
            assert _status(instance, run.run_id) == dg.DagsterRunStatus.STARTED
        asked = dict(served.state.counts.requests)
        served.state.latency = 0.0
        with dagster_dev(deployment), deployment.instance() as instance:
            took = wait_for(
                lambda: set(record_in(instance).versions()) == set(keys),
                240,
                "the rest of the wallets",
            )
            print(f"all is recorded {took:.0f} s after the machine came back")
            assert _status(instance, run.run_id) == dg.DagsterRunStatus.FAILURE
            wait_for(
                lambda: deployment.feed_table.count_rows() == truth(world).total(), 120, "a load"
            )
        again = {w for w in recorded if served.state.counts.requests[w] > asked[w]}
    assert again == set(), "wallets that were recorded were asked for again"
    assert deployment.table() == truth(world)


def test_a_killed_daemon_loses_nothing(deployed: Deployed):
    world = generate(74, 300, most_trades=5)
    keys = [wallet.lower() for wallet in world.wallets()]
    with deployed(world, POLYCOPY_CONCURRENCY="4") as (deployment, served):
        served.state.latency = 0.2
        deployment.want(keys)
        with dagster_dev(deployment) as ui, deployment.instance() as instance:
            _run_of(instance, ui.launch_backfill(keys))
            _some(instance, 5)
            os.kill(_daemon(ui), signal.SIGKILL)
            time.sleep(5)
        served.state.latency = 0.0
        with dagster_dev(deployment), deployment.instance() as instance:
            took = wait_for(
                lambda: set(record_in(instance).versions()) == set(keys),
                240,
                "the rest of the wallets",
            )
            print(f"all is recorded {took:.0f} s after the daemon was back")
    assert max(served.state.counts.requests.values()) <= 2
    deployment.backfill()
    assert deployment.table() == truth(world)


def _daemon(ui: Ui) -> int:
    for pid in processes(ui.leader):
        command = (Path("/proc") / str(pid) / "cmdline").read_text()
        if "dagster._daemon" in command:
            return pid
    raise AssertionError("there is no daemon")
