"""Whose run it is: nothing of ours touches the runs of another code location."""

import time
import uuid
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.code_pointer import FileCodePointer, ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from polycopy_assets import liveness, sensors, turns
from polycopy_assets.definitions import build
from polycopy_assets.ours import is_ours, our_runs
from polycopy_assets_tests.deployment import Deployment

S = dg.DagsterRunStatus
OURS = ModuleCodePointer("polycopy_assets.definitions", "defs", "/srv")
OUR_FILE = FileCodePointer("/srv/polycopy_assets/definitions.py", "defs", "/srv")
THEIRS = ModuleCodePointer("risk.definitions", "defs", "/srv")


def origin(pointer: ModuleCodePointer | FileCodePointer, job: str) -> JobPythonOrigin:
    return JobPythonOrigin(job, RepositoryPythonOrigin("/usr/bin/python3", pointer))


def add(instance: dg.DagsterInstance, job: str, status: S, **options) -> dg.DagsterRun:
    run = dg.DagsterRun(job_name=job, run_id=str(uuid.uuid4()), status=status, **options)
    return instance.run_storage.add_run(run)


def of_theirs(instance: dg.DagsterInstance, status: S) -> list[dg.DagsterRun]:
    """Runs of another code location that look like ours, as far as names go."""
    jobs = [
        add(instance, job, status, job_code_origin=origin(THEIRS, job))
        for job in ("fetch", "load", "check", "reconcile")
    ]
    name = "__ASSET_JOB"
    asset = add(
        instance,
        name,
        status,
        job_code_origin=origin(THEIRS, name),
        asset_selection=frozenset({dg.AssetKey("trades")}),
    )
    return [*jobs, asset, add(instance, "load", status)]


def of_ours(instance: dg.DagsterInstance, deployment: Deployment, status: S):
    """Ours, as every way to start one leaves it; those of older versions have no tag of ours."""
    job = build(deployment.settings).resolve_job_def("fetch")
    chosen = frozenset({dg.AssetKey("wallet_trades")})
    name = "__ASSET_JOB"
    return [
        instance.create_run_for_job(job, status=status, tags=job.run_tags),
        add(instance, name, status, job_code_origin=origin(OURS, name), asset_selection=chosen),
        add(instance, name, status, job_code_origin=origin(OUR_FILE, name)),
        add(instance, "load", status, job_code_origin=origin(OURS, "load")),
        add(instance, "fetch", status, tags={"polycopy/worker": "an-older-version@elsewhere:1"}),
    ]


def test_a_silent_run_is_ended_only_if_it_is_ours(tmp_path: Path):
    deployment = Deployment(tmp_path, "http://127.0.0.1:9")
    with deployment.instance() as instance:
        theirs = of_theirs(instance, S.STARTED)
        ours = of_ours(instance, deployment, S.STARTED)
        ended = liveness.end_dead_runs(instance, lambda: time.time() + 86_400)
        statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert set(ended) == {run.run_id for run in ours}
    assert {statuses[run.run_id] for run in theirs} == {S.STARTED}
    assert {statuses[run.run_id] for run in ours} == {S.FAILURE}


@pytest.mark.parametrize("status", [S.NOT_STARTED, S.STARTED])
def test_what_others_run_is_no_work_of_ours(tmp_path: Path, status: S):
    deployment = Deployment(tmp_path, "http://127.0.0.1:9")
    with deployment.instance() as instance:
        of_theirs(instance, status)
        assert sensors._fetching(instance) is None
        assert sensors._under_way(instance, "load") is None
        (mine,) = of_ours(instance, deployment, status)[:1]
        assert sensors._fetching(instance) is not None
        assert is_ours(mine)


def test_what_others_have_run_is_no_history_of_ours_however_much_it_is(tmp_path: Path):
    deployment = Deployment(tmp_path, "http://127.0.0.1:9")
    with deployment.instance() as instance:
        ours = of_ours(instance, deployment, S.FAILURE)
        for _ in range(30):
            of_theirs(instance, S.FAILURE)
        assert sensors._work_ended(instance, time.time() - 60) is None
        found = sensors._latest(instance, "fetch", 3)
        assert [run.dagster_run.run_id for run in found] == [ours[4].run_id, ours[0].run_id]
        for _ in range(120):
            add(instance, "fetch", S.FAILURE, job_code_origin=origin(THEIRS, "fetch"))
        wanted = dg.RunsFilter(job_name="fetch", statuses=[S.FAILURE])
        assert [run.dagster_run.run_id for run in our_runs(instance, wanted, 3)] == [ours[0].run_id]


def test_the_place_of_another_locations_step_in_a_pool_is_left_to_it(tmp_path: Path):
    deployment = Deployment(tmp_path, "http://127.0.0.1:9")
    with deployment.instance() as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots(turns.SOURCE, 3)
        theirs = of_theirs(instance, S.FAILURE)[0]
        ours = of_ours(instance, deployment, S.FAILURE)[0]
        storage.claim_concurrency_slot(turns.SOURCE, theirs.run_id, "their_step")
        storage.claim_concurrency_slot(turns.SOURCE, "a-deleted-run", "their_step")
        storage.claim_concurrency_slot(turns.SOURCE, ours.run_id, "wallet_trades")
        turns._free_the_dead(instance, turns.SOURCE)
        left = storage.get_concurrency_info(turns.SOURCE).active_run_ids
        assert left == {theirs.run_id, "a-deleted-run"}
        told = turns._holders(instance, turns.SOURCE)
    assert "(fetch of another code location, which uses the pool `source` too) is at it" in told


def test_a_place_that_was_freed_before_anybody_waited_is_given_to_who_waits_now(tmp_path: Path):
    deployment = Deployment(tmp_path, "http://127.0.0.1:9")
    with deployment.instance() as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots(turns.SOURCE, 1)
        run = add(instance, "fetch", S.STARTED)
        # What is left when one asks while another gives the place back, in two processes.
        storage.add_pending_step(turns.SOURCE, run.run_id, "wallet_trades", should_assign=False)  # type: ignore[attr-defined]
        assert not storage.claim_concurrency_slot(
            turns.SOURCE, run.run_id, "wallet_trades"
        ).is_claimed
        turns._free_the_dead(instance, turns.SOURCE)
        assert storage.claim_concurrency_slot(turns.SOURCE, run.run_id, "wallet_trades").is_claimed
