"""Whose run it is: nothing of ours touches the runs of another code location."""

import time
import uuid

import dagster as dg
import pytest
from dagster._core.code_pointer import FileCodePointer, ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin

from polycopy_assets.automation.situation import (
    fetch_situation,
    latest_ended,
    run_under_way,
    work_ended,
)
from polycopy_assets.definitions import build
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.guard.ours import Job, is_ours, our_runs
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.of_trades import record_in

S = dg.DagsterRunStatus
OURS = ModuleCodePointer("polycopy_assets.definitions", "defs", "/srv")
OUR_FILE = FileCodePointer("/srv/polycopy_assets/definitions.py", "defs", "/srv")
THEIRS = ModuleCodePointer("risk.definitions", "defs", "/srv")


def origin(pointer: ModuleCodePointer | FileCodePointer, job: str) -> JobPythonOrigin:
    return JobPythonOrigin(job, RepositoryPythonOrigin("/usr/bin/python3", pointer))


def add(instance: dg.DagsterInstance, job: str, status: S, **options) -> dg.DagsterRun:
    run = dg.DagsterRun(job_name=job, run_id=str(uuid.uuid4()), status=status, **options)
    return instance.run_storage.add_run(run)


def start(instance: dg.DagsterInstance, runs: list[dg.DagsterRun]) -> None:
    for run in runs:
        begun = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=run.job_name)
        instance.report_dagster_event(begun, run.run_id)


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
        add(instance, "fetch", status, tags={"polycopy/code": "polycopy_assets"}),
    ]


def test_a_silent_run_is_ended_only_if_it_is_ours(deployment: Deployment):
    with deployment.instance() as instance:
        theirs = of_theirs(instance, S.STARTED)
        ours = of_ours(instance, deployment, S.STARTED)
        start(instance, [*theirs, *ours])
        ended = end_dead_runs(instance, lambda: time.time() + 86_400)
        statuses = {run.run_id: run.status for run in instance.get_runs()}
    assert set(ended) == {run.run_id for run in ours}
    assert {statuses[run.run_id] for run in theirs} == {S.STARTED}
    assert {statuses[run.run_id] for run in ours} == {S.FAILURE}


@pytest.mark.parametrize("status", [S.NOT_STARTED, S.STARTED])
def test_what_others_run_is_no_work_of_ours(deployment: Deployment, status: S):
    with deployment.instance() as instance:
        of_theirs(instance, status)
        assert fetch_situation(record_in(instance)).under_way is None
        assert run_under_way(instance, Job.LOAD) is None
        (mine,) = of_ours(instance, deployment, status)[:1]
        assert fetch_situation(record_in(instance)).under_way is not None
        assert is_ours(mine)


def test_what_others_have_run_is_no_history_of_ours_however_much_it_is(deployment: Deployment):
    with deployment.instance() as instance:
        ours = of_ours(instance, deployment, S.FAILURE)
        for _ in range(30):
            of_theirs(instance, S.FAILURE)
        assert work_ended(instance, time.time() - 60) is None
        found = latest_ended(instance, Job.FETCH, 3)
        assert [run.dagster_run.run_id for run in found] == [
            ours[number].run_id for number in (5, 4, 0)
        ]
        for _ in range(120):
            add(instance, "fetch", S.FAILURE, job_code_origin=origin(THEIRS, "fetch"))
        wanted = dg.RunsFilter(job_name="fetch", statuses=[S.FAILURE])
        tagged = [run.dagster_run.run_id for run in our_runs(instance, wanted, 3)]
        assert tagged == [ours[5].run_id, ours[0].run_id]
