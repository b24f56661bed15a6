"""Files that other processes have locked: it is said who has them, waited for, and given up."""

import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployed, Deployment, truth

WORLD = generate(92, 12, most_trades=5)

_SQLITE = """
import sqlite3, sys, time
lock = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
lock.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""
_DUCKDB = """
import duckdb, sys, time
table = duckdb.connect(sys.argv[1])
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""
_MAIN = "from polycopy_assets.__main__ import main; main()"
_OFTEN = "from polycopy_assets.cli import display; display.LINE_EVERY_SECONDS = 0.5"
_IMPATIENT = "from polycopy_assets.record.private import patience; patience.BUSY_SECONDS = 4.0"
_IMPATIENT_TABLE = """
from polycopy_assets.resources import embedded
from polycopy_assets.assets import plainly
embedded.WarehouseResource.open.__kwdefaults__["patience"] = 3.0
plainly.PAUSE_SECONDS = 1.0
"""


@contextmanager
def locked(code: str, file: Path, seconds: float) -> Iterator[int]:
    """Another process that has locked `file`, for at most `seconds`; its id."""
    script = file.parent / "backup.py"
    script.write_text(code)
    with subprocess.Popen(
        [sys.executable, str(script), str(file), str(seconds)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            yield process.pid
        finally:
            process.kill()


_DAGSTERS = "Exception while writing logger call to event log: "


def _databases(deployment: Deployment) -> dict[str, Path]:
    history = Path(deployment.settings.home) / "history"
    return {"index": history / "runs" / "index.db", "runs": history / "runs.db"}


@pytest.mark.files
@pytest.mark.parametrize("database", ["index", "runs"])
def test_a_locked_database_of_dagster_is_waited_for_and_who_has_it_is_said(
    deployed: Deployed, database: str
):
    with deployed(WORLD) as (deployment, _):
        deployment.want(WORLD.wallets())
        file = _databases(deployment)[database]
        with locked(_SQLITE, file, 15) as pid:
            done = deployment.polycopy("backfill", first=_OFTEN)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "Waiting for" in line]
    named = [line for line in lines if "locked by process" in line]
    assert named
    assert len(named) >= len(lines) - 1  # the lock may be freed while its holder is looked up
    for line in named:
        assert f"Dagster's database {file}: locked by process {pid} (python" in line
        assert "backup.py, started " in line
        assert re.search(r"; waited \d+ s of at most 180 s", line)
    assert "Traceback" not in done.stderr
    assert deployment.table() == truth(WORLD)


@pytest.mark.files
@pytest.mark.parametrize("database", ["index", "runs"])
def test_a_database_that_stays_locked_is_given_up_in_one_line(deployed: Deployed, database: str):
    with deployed(WORLD) as (deployment, _):
        deployment.want(WORLD.wallets())
        file = _databases(deployment)[database]
        with locked(_SQLITE, file, 100) as pid:
            failed = deployment.polycopy("backfill", first=f"{_OFTEN}\n{_IMPATIENT}")
            assert Path(f"/proc/{pid}").exists(), "it waited until the database was free"
        assert failed.returncode == 1
        others = [line for line in failed.stderr.splitlines() if "Waiting for" not in line]
        # Dagster says the same once more, before us, if what could not be written is a log line.
        (line,) = [
            line for line in others if not line.startswith(f"{_DAGSTERS}Dagster's database ")
        ]
        assert line.startswith("polycopy: ")
        assert f"Dagster's database {file}: locked by process {pid} (python" in line
        assert "Let it finish, or end it; then start this again" in line
        assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(WORLD)


@pytest.mark.files
def test_the_lock_of_ninety_seconds_of_a_running_fetch_costs_nothing(
    tmp_path: Path, deployed: Deployed
):
    """Scaled down: the lock begins while the fetch records, and a write waits for it."""
    with deployed(WORLD, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        served.state.latency = 0.4
        deployment.want(WORLD.wallets())
        process = subprocess.Popen(
            [sys.executable, "-c", f"{_OFTEN}\n{_MAIN}", "backfill"],
            env=deployment.process_environ(),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        while served.state.counts.trade_requests < 3:
            time.sleep(0.05)
        lock = sqlite3.connect(_databases(deployment)["index"], timeout=30)
        lock.execute("BEGIN EXCLUSIVE")
        time.sleep(8)
        lock.close()
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "Waiting for Dagster's database" in said
    assert set(served.state.counts.requests.values()) == {1}
    assert deployment.table() == truth(WORLD)


@pytest.mark.files
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0, 3])
def test_a_command_that_waits_for_a_database_can_be_interrupted(
    tmp_path: Path, deployed: Deployed, told: int, after: int
):
    """Before its run has begun, and while a step records wallets."""
    with deployed(WORLD, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        served.state.latency = 0.4
        deployment.want(WORLD.wallets())
        process = subprocess.Popen(
            [sys.executable, "-c", f"{_OFTEN}\n{_MAIN}", "backfill"],
            env=deployment.process_environ(),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        while served.state.counts.trade_requests < after:
            time.sleep(0.05)
        with locked(_SQLITE, _databases(deployment)["index"], 100):
            assert process.stderr is not None
            while "Waiting for Dagster" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(told)
            _, said = process.communicate(timeout=30)
        assert process.returncode != 0
        assert "Traceback" not in said
        served.state.latency = 0.0
        assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(WORLD)


def test_a_table_that_another_process_has_is_waited_for_and_tried_again_at_the_end(
    deployed: Deployed,
):
    with deployed(WORLD) as (deployment, _):
        deployment.want(WORLD.wallets())
        file = Path(deployment.settings.warehouse)
        with locked(_DUCKDB, file, 13) as pid:
            done = deployment.polycopy("backfill", first=f"{_OFTEN}\n{_IMPATIENT_TABLE}")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("Waiting for ")]
    assert lines
    for line in lines:
        assert line.startswith(f"Waiting for {file}, held by process {pid} (python")
        assert "backup.py, started " in line
    assert "Registered wallets are fetched now" in done.stderr
    assert deployment.table() == truth(WORLD)


def test_a_table_that_stays_held_is_given_up_in_one_line_and_nothing_is_fetched_again(
    deployed: Deployed,
):
    with deployed(WORLD) as (deployment, served):
        deployment.want(WORLD.wallets())
        with locked(_DUCKDB, Path(deployment.settings.warehouse), 200) as pid:
            failed = deployment.polycopy("backfill", first=_IMPATIENT_TABLE)
        assert failed.returncode == 1
        (line,) = [
            text
            for text in failed.stderr.splitlines()
            if text.startswith("polycopy: the table could not be loaded: waited 3 s for ")
        ]
        assert f"it is held by process {pid} (python" in line
        assert "Traceback" not in failed.stderr
        served.state.counts.reset()
        assert deployment.polycopy("backfill").returncode == 0
        assert served.state.counts.trade_requests == 0
    assert deployment.table() == truth(WORLD)
