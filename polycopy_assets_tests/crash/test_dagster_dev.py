"""`dagster dev` as it is used: a backfill from the UI's own interface, and a killed worker."""

import os
import re
import signal

import dagster as dg
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.record import attempts
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.dev import dagster_dev, processes, wait_for
from polycopy_assets_tests.of_trades import record_in

QUEUED = dg.DagsterRunStatus.QUEUED


def _worker_pid(instance: dg.DagsterInstance, run_id: str) -> int | None:
    for entry in instance.all_logs(run_id):
        found = re.search(r"Executing steps in process \(pid: (\d+)\)", entry.message)
        if found:
            return int(found[1])
    return None


def _runs(instance: dg.DagsterInstance, backfill_id: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id})))


@pytest.mark.dev
@pytest.mark.timeout(420)
def test_a_killed_worker_is_replaced_without_a_hand_and_writes_no_more(deployed: Deployed):
    world = generate(89, 400, most_trades=10)
    keys = [wallet.lower() for wallet in world.wallets()]
    with deployed(world, POLYCOPY_CONCURRENCY="4") as (deployment, served):
        served.state.latency = 0.5
        deployment.want(keys)
        with dagster_dev(deployment) as ui, deployment.instance() as instance:
            backfill_id = ui.launch_backfill(keys[:-1])
            wait_for(lambda: len(record_in(instance).versions()) >= 1, 120, "the first wallet")
            another_id = ui.launch_backfill(keys[-1:])
            wait_for(
                lambda: [r.status for r in _runs(instance, another_id)] == [QUEUED],
                90,
                "another run that waits for its turn",
            )
            run = _runs(instance, backfill_id)[0]
            pid = _worker_pid(instance, run.run_id)
            assert pid is not None
            served.state.latency = 0.05
            os.kill(pid, signal.SIGKILL)
            recorded = set(record_in(instance).versions())
            assert keys[-1] not in recorded, "two runs fetched under one budget"
            requests = dict(served.state.counts.requests)
            assert 1 <= len(recorded) < len(keys) - 1
            took = wait_for(
                lambda: (
                    not {"REQUESTED", "COMPLETING"}
                    & {ui.backfill_status(each) for each in (backfill_id, another_id)}
                ),
                240,
                "the end",
            )
            for each in (backfill_id, another_id):
                assert ui.backfill_status(each) == "COMPLETED_SUCCESS", attempts.failed(
                    record_in(instance)
                )
            print(f"recovered and ended {took:.0f} s after the kill")
            runs = {item.run_id: item for item in _runs(instance, backfill_id)}
            by_dead_run = record_in(instance).recorded_by([run.run_id])
            assert set(record_in(instance).versions()) == set(keys)
            assert attempts.failed(record_in(instance)) == []
        again = {w for w in recorded if served.state.counts.requests[w] > requests[w]}
    assert again == set(), "wallets that were recorded were asked for again"
    assert runs[run.run_id].status == dg.DagsterRunStatus.FAILURE
    assert len(runs) == 2
    assert by_dead_run <= recorded, "the killed worker went on recording"
    load = deployment.backfill()
    assert (load.requests, load.failed_checks) == (0, [])
    assert deployment.table() == truth(world)


@pytest.mark.dev
@pytest.mark.timeout(300)
def test_one_that_a_script_has_started_in_the_background_ends_by_sigterm(deployment: Deployment):
    with dagster_dev(deployment, by_a_script=True) as ui:
        assert len(processes(ui.leader)) > 1
        os.kill(ui.leader, signal.SIGTERM)
        wait_for(lambda: processes(ui.leader) in ([], [ui.leader]), 60, "the end of its children")
