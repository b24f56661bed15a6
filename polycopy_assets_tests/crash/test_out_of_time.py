"""A backfill that has only so much time: it ends as "to be continued", and goes on where it was."""

import fcntl
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.guard.exclusive import SOURCE, WAREHOUSE
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lease import take_lease
from polycopy_assets.guard.lock import this_process
from polycopy_assets_tests.crash.redone import asked_again, stored_spans
from polycopy_assets_tests.deployment import Deployed, Deployment, new_trades, truth
from polycopy_assets_tests.forks import Forked

TO_BE_CONTINUED = 75
WORLD = generate(71, 24, whales=2, whale_trades=3_000)
LEDGERS = generate(72, 40, whales=0, most_trades=20, ledgers=True)
SLOW = {"POLYCOPY_CONCURRENCY": "4", "POLYCOPY_SEGMENT_BYTES": "100000"}
GRACE_SECONDS = 10
"""Between SIGTERM and SIGKILL on Cloud Run."""


Process = subprocess.Popen[str] | Forked
Moment = Callable[[Process], Any]


class Job:
    """The job as Cloud Run starts it, again and again: if `new`, it has to import everything."""

    def __init__(
        self, deployment: Deployment, served: Served, first: str = "", *, new: bool = False
    ) -> None:
        self.deployment, self.served, self.first, self.new = deployment, served, first, new
        self.left: list[int] = []
        self.again = 0

    def start(self, limit: str) -> Process:
        command = ("backfill", "--for", limit, "--json")
        if not self.new:
            return self.deployment.start(*command, first=self.first)
        return subprocess.Popen(
            [sys.executable, "-m", "polycopy_assets", *command],
            env=self.deployment.process_environ(),
            cwd=self.deployment.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, limit: str, meanwhile: Moment = lambda _: None) -> int:
        """One attempt; its exit code. Nothing durable is asked for again, and nothing is traced."""
        durable, before = stored_spans(self.deployment), len(self.served.state.counts.log)
        with self.start(limit) as process:
            try:
                meanwhile(process)
                said, errors = process.communicate(timeout=120)
            except BaseException:
                process.kill()
                raise
        self.again += len(asked_again(self.served.state.counts.log[before:], durable))
        assert "Traceback" not in errors, errors
        assert "aclose()" not in errors, errors
        if said:
            self.left.append(json.loads(said)["left"])
        return process.wait()

    def until_complete(self, limit: str = "5m") -> None:
        assert self.run(limit) == 0
        assert self.left[-1] == 0
        assert self.again == 0
        assert self.deployment.table() == truth(WORLD)


def after(served: Served, requests: int) -> Moment:
    """Waits until so many more requests for trades have arrived."""

    def wait(process: Process) -> None:
        wanted = served.state.counts.trade_requests + requests
        patience = time.monotonic() + 60
        while served.state.counts.trade_requests < wanted and process.poll() is None:
            assert time.monotonic() < patience, "the moment never came"
            time.sleep(0.02)

    return wait


@pytest.mark.timeout(900)
def test_runs_of_a_few_seconds_finish_what_takes_longer_and_ask_for_nothing_again(
    deployed: Deployed,
):
    with deployed(WORLD, **SLOW) as (deployment, served):
        served.state.latency = 0.8
        deployment.want(WORLD.wallets())
        job, ends, limit = Job(deployment, served), [], 3
        loaded = 0
        while not ends or ends[-1] == TO_BE_CONTINUED:
            # On a loaded machine the first seconds may be over before the first request.
            ends.append(job.run(f"{limit}s"))
            limit += 1 if job.left[-2:-1] == job.left[-1:] else 0
            rows = sum(deployment.table().values())
            assert rows >= loaded
            loaded = rows
            assert len(ends) < 40, job.left
        assert ends == [*[TO_BE_CONTINUED] * (len(ends) - 1), 0]
        assert len(ends) > 2
        assert job.left == sorted(job.left, reverse=True)
        assert job.left[0] > 0 == job.left[-1]
        assert job.again == 0
        # What a run was served is kept up to the last whole second, so hardly a row comes twice.
        served_rows = sum(served.state.counts.rows.values())
    all_rows = sum(truth(WORLD).values())
    assert all_rows <= served_rows < all_rows * 1.1
    assert deployment.table() == truth(WORLD)


@pytest.mark.timeout(300)
def test_a_new_feed_does_not_take_the_time_of_one_that_is_only_refreshed(deployed: Deployed):
    with deployed(LEDGERS, lag_seconds=3000) as (deployment, served):
        deployment.want(LEDGERS.wallets())
        deployment.backfill()
        deployment.environ["POLYCOPY_FEEDS"] = "trades,activity"
        deployment.environ["POLYCOPY_ROUTE_LIMITS"] = "/v2/activity=1/2"
        served.state.lag_seconds = 0
        for wallet in LEDGERS.wallets():
            served.state.world.add(new_trades(wallet, int(time.time()) - 400, 1))
        ended = deployment.polycopy("backfill", "--refresh", "--for", "16s", "--json")
        assert ended.returncode == TO_BE_CONTINUED, ended.stderr
        feeds = {each["feed"]: each for each in json.loads(ended.stdout)["feeds"]}
        assert feeds["trades"]["left"] == 0
        assert feeds["trades"]["rows_fetched"] == len(LEDGERS.wallets())
        assert feeds["activity"]["rows_fetched"] > 0
        assert feeds["activity"]["left"] > 0


def terminated(moment: Moment) -> Moment:
    """SIGTERM at a moment; it has to be over before Cloud Run would kill it."""

    def meanwhile(process: Process) -> None:
        moment(process)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < GRACE_SECONDS:
            time.sleep(0.05)
        assert process.poll() is not None, "it was still there when it would be killed"

    return meanwhile


def has_mapped(library: str) -> Moment:
    """The moment at which the process has a library's code in memory, and goes on importing."""

    def wait(process: Process) -> None:
        while library not in Path(f"/proc/{process.pid}/maps").read_text():
            assert process.poll() is None
            time.sleep(0.001)

    return wait


def seconds(count: float) -> Moment:
    return lambda _: time.sleep(count)


def test_sigterm_at_any_moment_is_to_be_continued_and_nothing_is_asked_for_again(
    deployed: Deployed,
):
    with deployed(WORLD, **SLOW) as (deployment, served):
        served.state.latency = 0.3
        deployment.want(WORLD.wallets())
        job = Job(deployment, served, new=True)
        moments = [
            has_mapped("polars"),
            has_mapped("duckdb"),
            seconds(1.5),
            after(served, 1),
            after(served, 7),
            after(served, 5),
        ]
        for moment in moments:
            assert job.run("50m", terminated(moment)) == TO_BE_CONTINUED
        assert job.left, "no fetch ended with a report"
        assert job.left[-1] < job.left[0]
        with deployment.instance() as instance:
            assert instance_locks(instance).holder(SOURCE) is None
        served.state.latency = 0.0
        job.until_complete()


def test_what_was_served_before_sigterm_is_kept_though_no_segment_was_full(deployed: Deployed):
    """A whale whose first segment would end much later: the page counts that it was served."""
    world = generate(72, 1, whales=1, whale_trades=9_000)
    with deployed(world, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        served.state.latency = 0.3
        deployment.want(world.wallets())
        job = Job(deployment, served)
        for _ in range(3):
            assert job.run("50m", terminated(after(served, 2))) == TO_BE_CONTINUED
        served.state.latency = 0.0
        assert job.run("50m") == 0
        rows = sum(served.state.counts.rows.values())
        # One answer under way at each end is lost at most.
        assert rows <= 9_000 + 3 * 1_100
    assert job.again == 0
    assert deployment.table() == truth(world)


HANGING_STORE = """
import time
from polycopy_assets.store.local import LocalStore
create, stored = LocalStore.create, []
def hang(store, name, *rest):
    stored.append(name)
    if len(stored) > 3:
        time.sleep(3600)
    create(store, name, *rest)
LocalStore.create = hang
"""


def test_a_store_that_hangs_does_not_outlast_the_grace(deployed: Deployed):
    with deployed(WORLD, **SLOW) as (deployment, served):
        deployment.want(WORLD.wallets())
        job = Job(deployment, served, first=HANGING_STORE)
        served.state.latency = 0.3
        assert job.run("50m", terminated(after(served, 7))) == TO_BE_CONTINUED
        served.state.latency = 0.0
        Job(deployment, served).until_complete()


def test_a_source_that_hangs_does_not_outlast_the_grace(deployed: Deployed):
    with deployed(WORLD, **SLOW, POLYCOPY_TIMEOUT="600") as (deployment, served):
        deployment.want(WORLD.wallets())
        served.state.latency = 0.2
        job = Job(deployment, served)

        def hangs(process: Process) -> None:
            after(served, 10)(process)
            served.state.latency = 300.0
            time.sleep(1)

        assert job.run("50m", terminated(hangs)) == TO_BE_CONTINUED
        served.state.latency = 0.0
        job.until_complete()


@pytest.mark.parametrize("requests", [3, 15])
def test_sigterm_and_then_sigkill_loses_nothing(deployed: Deployed, requests: int):
    """A process that is frozen when it is told to stop: Cloud Run kills it after ten seconds."""
    with deployed(WORLD, **SLOW) as (deployment, served):
        served.state.latency = 0.2
        deployment.want(WORLD.wallets())
        job = Job(deployment, served)

        def killed(process: Process) -> None:
            after(served, requests)(process)
            process.send_signal(signal.SIGSTOP)
            process.send_signal(signal.SIGTERM)
            time.sleep(GRACE_SECONDS)
            process.kill()

        assert job.run("50m", killed) == -signal.SIGKILL
        served.state.latency = 0.0
        job.until_complete()


def at_once(jobs: list[Job]) -> set[int]:
    """The exit codes of jobs that start at the same time."""
    codes: list[int] = []
    threads = [threading.Thread(target=lambda job=job: codes.append(job.run("4s"))) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(codes) == len(jobs)
    return set(codes)


@pytest.mark.timeout(900)
def test_two_jobs_at_once_share_the_work_and_both_end_in_time(deployed: Deployed):
    with deployed(WORLD, **SLOW) as (deployment, served):
        served.state.latency = 0.6
        deployment.want(WORLD.wallets())
        jobs = [Job(deployment, served), Job(deployment, served)]
        ends: list[set[int]] = []
        while not ends or 0 not in ends[-1]:
            ends.append(at_once(jobs))
            assert ends[-1] <= {0, TO_BE_CONTINUED}
            assert len(ends) < 20
        assert len(ends) > 1
        jobs[0].until_complete()


def test_a_job_does_not_wait_for_another_run_longer_than_it_has(deployed: Deployed):
    with deployed(WORLD) as (deployment, served):
        deployment.want(WORLD.wallets())
        job = Job(deployment, served)
        with deployment.instance() as instance:
            lock = instance_locks(instance).try_acquire(SOURCE, this_process("test"))
            assert lock is not None
            assert job.run("2s") == TO_BE_CONTINUED
            assert job.left == [len(WORLD.wallets())]
            assert served.state.counts.trade_requests == 0
            lock.release()
            held = instance_locks(instance).try_acquire(WAREHOUSE, this_process("test"))
            assert held is not None
            served.state.latency = 0.2
            assert job.run("3s") == TO_BE_CONTINUED  # the time is up before the load
            served.state.latency = 0.0
            tries = 0
            while tries == 0 or job.left[-1] > 0:  # at last all is fetched, and the load waits
                assert job.run("10s") == TO_BE_CONTINUED
                tries += 1
                assert tries < 10
            held.release()
        job.until_complete()


def test_without_a_database_it_does_not_wait_for_another_command_longer_than_it_has(
    deployed: Deployed, tmp_path: Path
):
    with deployed(WORLD, POLYCOPY_INSTANCE="ephemeral") as (deployment, served):
        deployment.want(WORLD.wallets())
        job = Job(deployment, served)
        in_use = tmp_path / "in-use"
        with in_use.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            store = deployment.store.whole
            held = take_lease(store, this_process("test"), in_use, waiting=lambda holder: None)
            assert job.run("3s") == TO_BE_CONTINUED
            assert served.state.counts.trade_requests == 0
            assert job.left == [], "nobody may look what is left"
            held.release()
        job.until_complete()
