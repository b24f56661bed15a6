"""Two code locations in one `dagster dev`: what is another team's is never touched."""

import time
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.guard.heartbeat import run_lock_tags
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.dev import dagster_dev, wait_for

pytestmark = [pytest.mark.dev, pytest.mark.timeout(400)]
S = dg.DagsterRunStatus

_THEIRS = '''
"""Another team's jobs, which have the names of ours, and take no lock."""
import time
from pathlib import Path
import dagster as dg

GO_ON = Path(__file__).with_name("go-on")

def wait():
    while not GO_ON.exists():
        time.sleep(0.2)

@dg.op(pool="source")
def asks_another_source():
    wait()

@dg.op
def loads_something_else():
    wait()

@dg.job
def fetch():
    asks_another_source()

@dg.job
def load():
    loads_something_else()

defs = dg.Definitions(jobs=[fetch, load])
'''
_BEGIN_SECONDS = 5.0
_IMPATIENT = (
    f"from polycopy_assets.guard import dead_runs; dead_runs.BEGIN_SECONDS = {_BEGIN_SECONDS}"
)
_WORKSPACE = """
load_from:
  - python_module: polycopy_assets.definitions
  - python_module: their_definitions
"""


def _status(instance: dg.DagsterInstance, run_id: str) -> S:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def _started_for(instance: dg.DagsterInstance, run_id: str) -> float:
    record = instance.get_run_record_by_id(run_id)
    assert record
    assert record.start_time
    return time.time() - record.start_time


def _dead(deployment: Deployment, instance: dg.DagsterInstance) -> str:
    """A run of ours whose process is gone."""
    job = build(deployment.settings).resolve_job_def("load")
    run = instance.create_run_for_job(job, status=S.STARTED, tags=job.run_tags)
    tags = {**run_lock_tags(run.run_id), "dagster/max_retries": "0"}
    instance.add_run_tags(run.run_id, tags)
    return run.run_id


def test_another_teams_jobs_of_the_same_names_are_never_touched(tmp_path: Path, deployed: Deployed):
    (tmp_path / "their_definitions.py").write_text(_THEIRS)
    (tmp_path / "sitecustomize.py").write_text(_IMPATIENT)
    (tmp_path / "workspace.yaml").write_text(_WORKSPACE)
    world = generate(91, 20, most_trades=5)
    with deployed(world, PYTHONPATH=str(tmp_path)) as (deployment, _):
        deployment.want(world.wallets())
        with (
            dagster_dev(deployment, tmp_path / "workspace.yaml") as ui,
            deployment.instance() as instance,
        ):
            theirs = [ui.launch_job(job, {}, "their_definitions") for job in ("fetch", "load")]
            for run_id in theirs:
                wait_for(lambda run=run_id: _status(instance, run) == S.STARTED, 60, "their run")
            # From now on each look of the sensor would take them for dead if they were ours.
            wait_for(
                lambda: all(_started_for(instance, each) > _BEGIN_SECONDS for each in theirs),
                60,
                "the end of the time in which a run has to begin",
            )
            dead = _dead(deployment, instance)
            wait_for(lambda: _status(instance, dead) == S.FAILURE, 70, "the sensor dead_runs")
            assert [_status(instance, run_id) for run_id in theirs] == [S.STARTED] * 2
            done = deployment.polycopy("backfill")
            assert done.returncode == 0, done.stderr
            assert [_status(instance, run_id) for run_id in theirs] == [S.STARTED] * 2
            (tmp_path / "go-on").touch()
            for run_id in theirs:
                wait_for(lambda run=run_id: _status(instance, run) == S.SUCCESS, 60, "their end")
    for run_id in theirs:
        assert run_id not in done.stderr
    assert deployment.table() == truth(world)
