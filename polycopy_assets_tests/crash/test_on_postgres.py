"""An instance in Postgres: the locks are there, and a session that is lost stops its holder."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.guard.exclusive import SOURCE
from polycopy_assets.guard.heartbeat import run_lock
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import FileLocks, Holder
from polycopy_assets.guard.postgres_lock import PostgresLocks
from polycopy_assets.record.private import database
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.instances import FORMS, execute, on_postgres

_MAIN = "from polycopy_assets.__main__ import main; main()"


@contextmanager
def backfilling(deployment: Deployment, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, "backfill"],
            env=deployment.process_environ(),
            cwd=deployment.root,
            stdout=file,
            stderr=file,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _holder(instance: dg.DagsterInstance, name: str) -> Holder:
    found = instance_locks(instance).holder(name)
    assert found
    return found


@pytest.mark.parametrize("form", FORMS)
def test_however_dagster_yaml_names_it_the_locks_are_in_the_instances_database(
    deployment: Deployment, server: str, form: str
):
    url = on_postgres(deployment, server, form)
    with deployment.instance() as instance:
        assert database.postgres_url(instance) == url
        assert isinstance(instance_locks(instance), PostgresLocks)


@pytest.mark.files
def test_an_instance_in_files_has_its_locks_in_files(deployment: Deployment):
    with deployment.instance() as instance:
        assert isinstance(instance_locks(instance), FileLocks)
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(instance_locks(instance), FileLocks)


@pytest.mark.files
def test_an_instance_that_could_not_lock_is_refused(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
):
    with deployment.instance() as instance, monkeypatch.context() as patch:
        patch.setattr(database, "_IN_FILES", ())
        with pytest.raises(ConfigurationError, match="PooledSqliteEventLogStorage is not supp"):
            instance_locks(instance)


def test_a_url_without_the_driver_that_is_installed_is_named_in_one_line(
    deployment: Deployment, server: str
):
    on_postgres(deployment, server, driver="psycopg")
    failed = deployment.polycopy("status")
    assert failed.returncode == 2
    assert "name Postgres' driver: `postgres_url: postgresql+psycopg2://" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.parametrize("lost", ["the source's", "the run's own"])
def test_a_holder_whose_session_is_lost_stops_before_its_next_request(
    tmp_path: Path, deployed: Deployed, server: str, lost: str
):
    world = generate(71, 60, most_trades=5)
    with deployed(world, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        served.state.latency = 0.3
        url = on_postgres(deployment, server)
        deployment.want(world.wallets())
        log = tmp_path / "first.log"
        with backfilling(deployment, log) as process, deployment.instance() as instance:
            _wait_for_requests(served.state.counts, 5)
            (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
            name = SOURCE if lost == "the source's" else run_lock(run.run_id)
            execute(url, f"SELECT pg_terminate_backend({_holder(instance, name).session})")
            asked = served.state.counts.trade_requests
            assert process.wait(60) == 1
            # The one that was under way, and the one that had been let through already.
            assert served.state.counts.trade_requests <= asked + 2
            said = log.read_text()
            assert f"the Postgres session that held the lock {name} has ended (" in said
            assert said.splitlines()[-1].endswith("start it again, it continues")
            assert "Traceback" not in said
            assert instance_locks(instance).holder(SOURCE) is None
            ended = instance.get_run_by_id(run.run_id)
            assert ended
            assert ended.is_failure
        served.state.latency = 0.0
        assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(world)


def test_a_database_that_goes_away_during_a_fetch_is_told_in_a_few_lines(
    tmp_path: Path, deployed: Deployed, server: str
):
    world = generate(73, 60, most_trades=5)
    with deployed(world, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        served.state.latency = 0.3
        url = on_postgres(deployment, server)
        database = url.rpartition("/")[2]
        deployment.want(world.wallets())
        log = tmp_path / "log"
        with backfilling(deployment, log) as process:
            _wait_for_requests(served.state.counts, 5)
            execute(server, f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
            execute(server, _END_ALL.format(database=database))
            asked, since = served.state.counts.trade_requests, time.monotonic()
            assert process.wait(240) == 1
            seconds = time.monotonic() - since
        assert served.state.counts.trade_requests <= asked + 2
        said = log.read_text()
        assert "Traceback" not in said
        assert said.splitlines()[-1].endswith("start this again: it continues")
        # One in ten seconds: Dagster tries each of its calls six times.
        assert 1 <= said.count("Retrying failed database connection") <= seconds / 10 + 1
        execute(server, f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        served.state.latency = 0.0
        assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(world)


_END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"


def test_a_frozen_holder_whose_session_was_ended_sends_nothing_beside_the_next(
    tmp_path: Path, deployed: Deployed, server: str
):
    world = generate(72, 60, most_trades=5)
    with deployed(world, lag_seconds=0, POLYCOPY_RATE_LIMIT="10/1", POLYCOPY_CONCURRENCY="2") as (
        deployment,
        served,
    ):
        url = on_postgres(deployment, server)
        deployment.want(world.wallets())
        first, second = tmp_path / "first.log", tmp_path / "second.log"
        with backfilling(deployment, first) as frozen, deployment.instance() as instance:
            _wait_for_requests(served.state.counts, 5)
            frozen.send_signal(signal.SIGSTOP)
            told = _holder(instance, SOURCE)
            assert f"SELECT pg_terminate_backend({told.session})" in told.advice
            execute(url, f"SELECT pg_terminate_backend({told.session})")
            asked = served.state.counts.trade_requests
            with backfilling(deployment, second) as other:
                _wait_for_requests(served.state.counts, asked + 10)
                frozen.send_signal(signal.SIGCONT)
                assert frozen.wait(60) == 1
                assert other.wait(120) == 0, second.read_text()
            # What it had let through and not sent when it was frozen, it may still send.
            assert _most(served.state.counts.arrivals, 1.0) <= 10 + 2
            # The lock was the other one's: the first has not noted that it was free.
            assert "session that held the lock source has ended" in first.read_text()
    assert deployment.table() == truth(world)


def _most(arrivals: list[float], seconds: float) -> int:
    times = sorted(arrivals)
    return max(sum(at <= other < at + seconds for other in times) for at in times)


def _wait_for_requests(counts: object, wanted: int) -> None:
    deadline = time.monotonic() + 60
    while counts.trade_requests < wanted:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        time.sleep(0.02)
