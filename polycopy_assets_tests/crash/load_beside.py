"""A backfill that combines and loads beside its fetch, watched from outside."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import dagster as dg

from polycopy_assets.batches.manifests import read_batches
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.guard.ours import Job
from polycopy_assets.record.materializations import DATA_VERSION_TAG
from polycopy_assets_tests.crash.redone import asked_again, stored_spans
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.forks import Forked
from polycopy_assets_tests.of_trades import KEYS

S = dg.DagsterRunStatus
WORLD = generate(81, 150, most_trades=60)
SAID = "polycopy: interrupted: start it again, it continues where it stopped"
SETTINGS = {"POLYCOPY_CONCURRENCY": "2"}
SLOW = 0.3
"""Seconds for a request: the fetch goes on much longer than a load takes, until it is let go."""
PATIENCE = 120.0

FEW_ROWS = """
import os, signal, time
from pathlib import Path
from polycopy_assets.cli import backfill, beside
from polycopy_assets.errors import StoreError
from polycopy_assets.warehouse.duckdb import file
from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable

DuckDBTable.worth_loading, beside.POLL_SECONDS = 100, 0.05
real_combine, real_load, loaded = beside.combine_new, beside.load, []

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def combine_noted(*args, **options):
    Path("began").touch()
    return real_combine(*args, **options)

def load_noted(*args):
    for batch in real_load(*args):
        loaded.append(batch)
        Path("loaded").touch()
        while Path("hold").exists():
            time.sleep(0.05)
        yield batch

beside.combine_new, beside.load = combine_noted, load_noted
"""
"""Loads beside the fetch whenever 100 trades are recorded, and leaves files that say so."""


@contextmanager
def started(deployment: Deployment, first: str, *options: str) -> Iterator[Forked]:
    """A backfill as a process, in which the code `first` runs first."""
    process = deployment.start("backfill", "--json", *options, first=f"{FEW_ROWS}\n{first}")
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process: Forked) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    return process.wait(PATIENCE), *process.written()


def until(true: Callable[[], object], process: Forked | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came"
        if process is not None and process.poll() is not None:
            raise AssertionError(process.communicate()[1])
        time.sleep(0.05)


@contextmanager
def fetching(
    deployed: Deployed, first: str = "", *, until_there: str = "began", hold: bool = False
) -> Iterator[tuple[Deployment, Served, Forked]]:
    """A backfill whose fetch is slow, once that file is there.

    With `hold` it loads once, and then the thread waits until the file `hold` is gone.
    """
    with deployed(WORLD, **SETTINGS) as (deployment, served):
        deployment.want(WORLD.wallets())
        served.state.latency = SLOW
        if hold:
            (deployment.root / "hold").touch()
        with started(deployment, first) as process:
            until((deployment.root / until_there).exists, process)
            yield deployment, served, process


def runs(deployment: Deployment, job: Job, *statuses: S) -> list[dg.RunRecord]:
    with deployment.instance() as instance:
        wanted = dg.RunsFilter(job_name=job, statuses=list(statuses) or None)
        return list(instance.get_run_records(wanted))


def versions(deployment: Deployment) -> list[str | None]:
    """The data versions of `combined_trades` and `trades` in Dagster's record."""
    found: list[str | None] = []
    with deployment.instance() as instance:
        for asset in (KEYS.combined, KEYS.table):
            event = instance.get_latest_materialization_event(asset)
            data = event.asset_materialization if event else None
            found.append((data.tags or {}).get(DATA_VERSION_TAG) if data else None)
    return found


def batches(deployment: Deployment) -> list[int]:
    return [batch.batch for batch in read_batches(deployment.store).sound]


def assert_complete(deployment: Deployment) -> None:
    """Every trade is in the table once and was combined once, and the record says so."""
    assert deployment.table() == truth(WORLD)
    found = read_batches(deployment.store)
    assert sum(batch.rows for batch in found.sound) == truth(WORLD).total()
    assert not found.broken
    assert versions(deployment) == [f"batches-{found.sound[-1].batch}"] * 2


def finish(deployment: Deployment, served: Served) -> None:
    """Runs the backfill again, to its end: nothing durable is requested again."""
    served.state.latency = 0.0
    time.sleep(SLOW + 0.3)  # answers under way
    durable, before = stored_spans(deployment), len(served.state.counts.log)
    done = deployment.polycopy("backfill", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["table_rows"], report["errors"]) == (truth(WORLD).total(), [])
    assert report["failed_checks"] == []
    assert asked_again(served.state.counts.log[before:], durable) == []
    assert_complete(deployment)
    loads = len(runs(deployment, Job.LOAD))
    assert deployment.here("backfill")[0] == 0
    assert len(runs(deployment, Job.LOAD)) == loads, "what is recorded is not loaded again"
    assert deployment.reconcile()["left"].keys() == {"consistent"}
