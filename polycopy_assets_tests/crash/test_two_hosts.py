"""Commands on two hosts, with nothing in common but store, table and one Postgres database."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.guard.exclusive import SOURCE
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.fakes.postgres import new_database
from polycopy_assets_tests.hosts import let_through, start

REQUESTS, SECONDS = 20, 5.0
"""A window that is longer than it takes to get a lock that was freed: else nobody would see that
the next host does not count the requests of the one before."""

WALLETS = 40


@contextmanager
def _two_hosts(
    deployed: Deployed, server: str
) -> Iterator[tuple[Deployment, Served, list[subprocess.Popen[str]]]]:
    """A backfill on each of two hosts, which begin at the same time."""
    world = generate(181, WALLETS, most_trades=5)
    url = new_database(server)
    with ExitStack() as stack:
        deployment, served = stack.enter_context(
            deployed(
                world,
                rate_limit=(REQUESTS, SECONDS),
                POLYCOPY_RATE_LIMIT=f"{REQUESTS}/{SECONDS:g}",
                POLYCOPY_INSTANCE=url,
            )
        )
        served.state.latency = 0.05
        deployment.want(world.wallets())
        folder = Path(tempfile.mkdtemp(prefix="hosts"))
        stack.callback(shutil.rmtree, folder)
        ports = [urlsplit(each).port or 0 for each in (url, served.url)]
        ways = stack.enter_context(let_through(folder, ports))
        processes = []
        for name in ("host-a", "host-b"):
            environ = {
                **deployment.process_environ(),
                "DAGSTER_HOME": str(deployment.root / name),
            }
            command = [sys.executable, "-m", "polycopy_assets", "backfill"]
            processes.append(start(name, ways, command, environ, deployment.root))
            stack.callback(_end, processes[-1])
        yield deployment, served, processes


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


@contextmanager
def _watched(deployment: Deployment) -> Iterator[list[object]]:
    """What the sensor `dead_runs` ends while the context lasts."""
    found: list[object] = []
    over = threading.Event()

    def watch(instance: dg.DagsterInstance) -> None:
        while not over.wait(0.2):
            found.extend(end_dead_runs(instance).items())

    with deployment.instance() as instance:
        thread = threading.Thread(target=watch, args=(instance,))
        thread.start()
        try:
            yield found
        finally:
            over.set()
            thread.join()


def _check_budget(served: Served) -> None:
    """As the server sees it: no window holds more than is allowed, and it refused nothing."""
    times = sorted(served.state.counts.arrivals)
    most = max(sum(at <= other < at + SECONDS for other in times) for at in times)
    assert most <= REQUESTS, f"{most} requests within {SECONDS:g} s, and {REQUESTS} are allowed"
    assert served.state.refused == 0, "the server refused requests"


def _wait_for_requests(served: Served, wanted: int) -> None:
    deadline = time.monotonic() + 120
    while served.state.counts.trade_requests < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _fetches(deployment: Deployment) -> list[tuple[float, float]]:
    """Begin and end of the runs that fetched, by the first and last wallet that they recorded."""
    with deployment.instance() as instance:
        spans = []
        for run in instance.get_runs(dg.RunsFilter(job_name="fetch")):
            kind = dg.DagsterEventType.ASSET_MATERIALIZATION
            at = [event.timestamp for event in instance.all_logs(run.run_id, of_type=kind)]
            if at:
                spans.append((min(at), max(at)))
    return sorted(spans)


def _waited(deployment: Deployment) -> set[tuple[str, str]]:
    """(run that waited, host of the run that it waited for), of the runs that fetch."""
    with deployment.instance() as instance:
        return {
            (run.run_id, found[1])
            for run in instance.get_runs(dg.RunsFilter(job_name="fetch"))
            for event in instance.all_logs(run.run_id)
            if (found := re.search(r"Waiting for run .* on (host-[ab])\)", event.message))
        }


@pytest.mark.timeout(240)
def test_one_host_fetches_at_a_time_within_one_budget_and_neither_is_declared_dead(
    deployed: Deployed, server: str
):
    with (
        _two_hosts(deployed, server) as (deployment, served, processes),
        _watched(deployment) as dead,
    ):
        said = [process.communicate(timeout=180)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], said
        assert not dead, f"declared dead while they lived: {dead}"
        # One waited, and named the other's host, where both may have the same process id.
        assert len(_waited(deployment)) == 1, "none of them, or both, waited for the other"
        fetches = _fetches(deployment)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(fetches)), (
            f"both fetched at the same time: {fetches}"
        )
        assert max(served.state.counts.requests.values()) <= 2, "both requested the same wallet"
        _check_budget(served)
    assert deployment.table() == truth(served.state.world)


@pytest.mark.timeout(240)
def test_when_the_host_that_fetches_is_lost_the_other_goes_on_and_the_budget_holds(
    deployed: Deployed, server: str
):
    with _two_hosts(deployed, server) as (deployment, served, processes):
        _wait_for_requests(served, 15)
        with deployment.instance() as instance:
            holder = instance_locks(instance).holder(SOURCE)
            assert holder, "nobody holds the lock, and somebody fetches"
        lost, left = processes if holder.host == "host-a" else processes[::-1]
        lost.send_signal(signal.SIGKILL)
        lost.wait()
        said, _ = left.communicate(timeout=180)
        assert left.returncode == 0, said
        _check_budget(served)
        with deployment.instance() as instance:
            (ended,) = end_dead_runs(instance).items()
        assert ended[0].startswith(holder.run_id)
        assert ended[1] == "the process that ran it has ended"
    assert deployment.table() == truth(served.state.world)
