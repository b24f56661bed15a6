"""Told to stop: a command ends within seconds, keeps what was finished, and begins nothing else."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.guard.exclusive import SOURCE
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets_tests.crash.redone import asked_again, stored_spans
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.old_job import OldJob

SAID = "polycopy: interrupted: start it again, it continues where it stopped"

AT_AN_EVENT = """
import os, signal
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster_postgres import PostgresEventLogStorage
seen = []
def meddle(storage):
    write = storage.store_event
    storage.store_event = lambda self, event: store_event(write, self, event)
def store_event(write, self, event):
    if event.is_dagster_event and event.dagster_event.event_type_value == "{event}":
        seen.append(event)
        if len(seen) == {nth}:
            os.kill(os.getpid(), signal.SIGTERM)
    return write(self, event)
meddle(SqliteEventLogStorage)
meddle(PostgresEventLogStorage)
"""

AT_A_BATCH = """
import os, signal
from polycopy_assets.record.private import run_events
store = run_events.store_batch
def store_batch(storage, events):
    os.kill(os.getpid(), signal.SIGTERM)
    store(storage, events)
run_events.store_batch = store_batch
"""

WHILE_IT_IMPORTS = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path, target=None):
        if name == "{module}":
            sys.meta_path.remove(self)
            try:
                os.kill(os.getpid(), signal.{signum})
            except KeyboardInterrupt:
                raise ImportError("an interrupt that a library takes for its own") from None
sys.meta_path.insert(0, Interrupts())
"""

WHERE_IT_IS_SWALLOWED = """
import os, signal
import polycopy_assets.fetch.iterate_async as module
from sqlalchemy.engine.default import DefaultDialect

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)

take, close, seen, done = module._next, DefaultDialect.do_close, [], []

def taken(items, check):
    seen.append(items)
    if len(seen) == 5:
        {told}
    return take(items, check)

def closed(self, connection):
    close(self, connection)
    if len(seen) >= 5 and not done:  # at the next batch of records
        done.append(connection)
        os.kill(os.getpid(), signal.SIGTERM)

module._next, DefaultDialect.do_close = taken, closed
"""


HANGING_STORE = """
import time
from polycopy_assets.fetch import iterate_async
from polycopy_assets.guard import heartbeat
from polycopy_assets.store.local import LocalStore
heartbeat.BEAT_SECONDS, heartbeat.STALLED_SECONDS = 0.5, 3.0
iterate_async.JOIN_SECONDS = 1.0
create = LocalStore.create
def hang(store, name, *rest):
    if name.startswith("trades/"):
        time.sleep(3600)
    create(store, name, *rest)
LocalStore.create = hang
"""


def jobs(deployment: Deployment) -> list[str]:
    """The jobs that have been run."""
    with deployment.instance() as instance:
        return [run.job_name for run in instance.get_runs()]


def test_sigterm_stops_within_seconds_and_keeps_what_was_finished(
    tmp_path: Path, deployed: Deployed
):
    world = generate(83, 100)
    with deployed(world, POLYCOPY_CONCURRENCY="4") as (deployment, served):
        served.state.latency = 0.3
        deployment.want(world.wallets())
        process = subprocess.Popen(
            [sys.executable, "-m", "polycopy_assets", "backfill"],
            env=deployment.process_environ(),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while served.state.counts.trade_requests < 20:
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait(10) != 0
        status = json.loads(deployment.polycopy("status", "--json").stdout)
        assert 0 < status["complete"] < 100
        served.state.latency = 0.0
        durable = stored_spans(deployment)
        before = len(served.state.counts.log)
        assert deployment.backfill().complete == 100
        assert asked_again(served.state.counts.log[before:], durable) == []
    assert deployment.table() == truth(world)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["backfill", "reconcile --apply"])
def test_it_stops_though_wallets_have_failed(
    tmp_path: Path, deployed: Deployed, command: str, signum: signal.Signals
):
    world = generate(65, 60, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with deployed(world, POLYCOPY_CONCURRENCY="2") as (deployment, served):
        served.state.latency = 0.5
        served.state.faults.set_wallets(dict.fromkeys(wallets[:2], "404"))
        deployment.want(wallets)
        old = OldJob(deployment)
        for wallet in wallets:
            old.tick(wallet, 5, at=LAST)
        old.write()
        process = subprocess.Popen(
            [sys.executable, "-m", "polycopy_assets", *command.split()],
            env=deployment.process_environ(),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while served.state.counts.trade_requests < 8:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signum)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 130
        assert said.splitlines()[-1] == SAID
        assert "load" not in jobs(deployment)
        with deployment.instance() as instance:
            assert instance_locks(instance).holder(SOURCE) is None
        served.state.latency = 0.0
        served.state.faults.set_wallets({})
        assert deployment.here(*command.split())[0] == 0
    assert deployment.table() == truth(world)


@pytest.mark.parametrize(
    "meddled",
    [
        pytest.param(AT_A_BATCH, id="record"),
        pytest.param(AT_AN_EVENT.format(event="ASSET_OBSERVATION", nth=1), id="suspended-step"),
        pytest.param(AT_AN_EVENT.format(event="PIPELINE_SUCCESS", nth=1), id="after-the-last-step"),
    ],
)
def test_it_stops_whatever_dagster_is_at(deployed: Deployed, meddled: str):
    """A step that is suspended then is closed by nobody; the run's end hears no interrupt."""
    world = generate(84, 20, most_trades=5)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        done = deployment.polycopy("backfill", first=meddled, timeout=30)
        assert done.returncode == 130
        assert done.stderr.splitlines()[-1] == SAID
        assert jobs(deployment) == ["fetch"]
        assert deployment.backfill().complete == 20
    assert deployment.table() == truth(world)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param("done.append(Finalized)\n        Finalized()", id="finalizer"),
        # In Postgres a connection ends with the process alone.
        pytest.param("pass", id="end-of-a-connection", marks=pytest.mark.files),
    ],
)
def test_it_stops_in_one_line_where_a_library_swallows_or_logs_the_interrupt(
    deployed: Deployed, told: str
):
    world = generate(85, 60, most_trades=5)
    with deployed(world, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        served.state.latency = 0.05
        deployment.want(world.wallets())
        done = deployment.polycopy("backfill", first=WHERE_IT_IS_SWALLOWED.format(told=told))
        assert (done.returncode, done.stdout, done.stderr.splitlines()) == (130, "", [SAID])
        assert jobs(deployment) == ["fetch"]
        assert served.state.counts.trade_requests < 30, "it went on"
        assert deployment.backfill().complete == 60
    assert deployment.table() == truth(world)


IN_A_QUERY = """
import duckdb, os, signal, threading
from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable

def count_rows(self):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    endless = "SELECT count(*) FROM range(1000000000000) AS t(i) WHERE i % 7 = 3"
    # One thread, so that the one that asks works: while it waits for others it hears no signal.
    return duckdb.connect(config={"threads": 1}).execute(endless).fetchall()

DuckDBTable.count_rows = count_rows
"""


def test_it_stops_in_one_line_in_the_middle_of_a_query(tmp_path: Path):
    """DuckDB turns the interrupt into an error of its own."""
    deployment = Deployment(tmp_path, "http://127.0.0.1:9")
    deployment.want([])
    done = deployment.polycopy("status", first=IN_A_QUERY, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (130, "", [SAID])


@pytest.mark.parametrize("module", ["dotenv", "dagster", "polycopy_assets.cli.status"])
@pytest.mark.parametrize("signum", ["SIGINT", "SIGTERM"])
def test_it_stops_in_one_line_while_it_is_still_importing(
    deployment: Deployment, module: str, signum: str
):
    meddled = WHILE_IT_IMPORTS.format(module=module, signum=signum)
    done = deployment.polycopy("status", first=meddled, new=True)
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (130, "", [SAID])


def test_a_command_whose_store_hangs_stops_itself_and_ends(deployed: Deployed):
    """Python would wait at its end for the thread that hangs, and ignore Ctrl-C meanwhile."""
    world = generate(66, 3, most_trades=5)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        stopped = deployment.polycopy("backfill", first=HANGING_STORE, timeout=90, new=True)
        assert stopped.returncode == 1
        assert "no progress for" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        assert deployment.backfill().remaining == 0
    assert deployment.table() == truth(world)
