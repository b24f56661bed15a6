"""`polycopy maintain` killed at each kind of step: no record is lost, and the next one finishes."""

import time
from pathlib import Path

import pytest

from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.forks import Forked
from polycopy_assets_tests.years import LAG, LATER, a_world, everything, later, live, maintained

_LATER = f"""
import time
from polycopy_assets.system import clock
now = time.time() + {LATER}
clock.now = lambda: now
"""

_KILL = """
import os, signal
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from polycopy_assets.record.private.stored_events import StoredEvents
from polycopy_assets.retention import maintain
from polycopy_assets.retention.files import RunFiles

def kill(*args, **named):
    os.kill(os.getpid(), signal.SIGKILL)

def killing(owner, name, call, before):
    original, calls = getattr(owner, name), iter(range(call))
    def instead(*args, **named):
        last = next(calls, None) is None
        if last and before:
            kill()
        result = original(*args, **named)
        if last:
            kill()
        return result
    setattr(owner, name, instead)
"""

SMALLER = "the databases get smaller"
"""Files do; a database in Postgres looks after itself."""

STEPS = {
    "the run is gone, Dagster's part of its events is not": (
        "killing(SqlEventLogStorage, 'delete_events', 0, True)"
    ),
    "a run is gone": "killing(SqlEventLogStorage, 'delete_events', 0, False)",
    "a page of events is gone": "killing(StoredEvents, 'delete', 2, False)",
    "results of checks are next": "killing(StoredEvents, 'delete_checks', 1, True)",
    "results of checks are gone": "killing(StoredEvents, 'delete_checks', 3, False)",
    "the log of a run is gone": "killing(RunFiles, 'delete_log', 1, False)",
    SMALLER: "killing(maintain, 'shrink', 0, True)",
}


def test_killed_at_any_step_nothing_is_lost_and_the_next_one_finishes(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = a_world()
    with deployed(world, lag_seconds=LAG) as (deployment, served):
        live(deployment, served, world, 4)
    later(monkeypatch)
    with deployment.instance() as instance:
        before = everything(deployment, instance)
    for step, code in STEPS.items():
        if step == SMALLER and deployment.settings.instance != "files":
            continue
        ended = deployment.polycopy("maintain", "--keep-days", "0", first=f"{_LATER}{_KILL}{code}")
        assert ended.returncode in (-9, 137), (step, ended.stderr)
        with deployment.instance() as instance:
            assert everything(deployment, instance) == before, step
    with deployment.instance() as instance:
        maintained(instance)
        assert everything(deployment, instance) == before
        home = Path(deployment.settings.home)
        known = {*instance.get_run_ids(), "index"}
        assert {path.stem for path in (home / "history" / "runs").glob("*.db")} <= known


def test_it_goes_on_beside_a_backfill_and_a_second_one(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = a_world(20)
    with deployed(world, lag_seconds=LAG, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        live(deployment, served, world, 3)
        served.state.faults.set_wallets({})
        served.state.lag_seconds -= 5_000
        served.state.latency = 0.05
        backfill = started(deployment, "backfill", "--refresh")
        rounds = 0
        while backfill.poll() is None:
            both = [
                started(deployment, "maintain", "--keep-days", "0", first=_LATER) for _ in range(2)
            ]
            for each in both:
                assert each.wait(120) == 0, each.written()
            rounds += 1
        assert rounds
        assert backfill.returncode == 0, backfill.written()
        assert deployment.table() == truth(world)
        later(monkeypatch)
        with deployment.instance() as instance:
            before = everything(deployment, instance)
            maintained(instance)
            assert everything(deployment, instance) == before
        served.state.counts.reset()
        assert deployment.backfill().requests == 0


def started(deployment: Deployment, *args: str, first: str = "") -> Forked:
    time.sleep(0.2)
    return deployment.start(*args, first=first)
