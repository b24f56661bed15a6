"""Living and dead runs: the lock alone tells them apart, whatever host and process ids say."""

import os
import re
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
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets_tests.crash.redone import asked_again, stored_spans
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.instances import on_postgres
from polycopy_assets_tests.spaces import ANOTHER_HOST, HERE, OWN_PROCESSES, within

S = dg.DagsterRunStatus
_OFTEN = """
from polycopy_assets.cli import display; display.LINE_EVERY_SECONDS = 0.2
from polycopy_assets.__main__ import main; main()
"""


class Backfill:
    """A backfill as a process of its own, in a name space."""

    def __init__(self, deployment: Deployment, space: str, name: str) -> None:
        self.said = deployment.root / f"{name}.log"
        with self.said.open("w") as file:
            self.process = subprocess.Popen(
                [*within(space), sys.executable, "-c", _OFTEN, "backfill"],
                env=deployment.process_environ(),
                cwd=deployment.root,
                stdout=file,
                stderr=file,
            )

    def kill(self) -> None:
        """SIGKILL for the process, and for the one that `unshare` has started."""
        for pid in (*self._children(), self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def _children(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in tasks.read_text().split()] if tasks.exists() else []

    def wait_until_it_says(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + 60
        while (found := re.search(pattern, self.said.read_text())) is None:
            assert self.process.poll() is None, self.said.read_text()[-3000:]
            assert time.monotonic() < deadline, self.said.read_text()[-3000:]
            time.sleep(0.05)
        return found


@contextmanager
def backfilling(deployment: Deployment, space: str, name: str) -> Iterator[Backfill]:
    backfill = Backfill(deployment, space, name)
    try:
        yield backfill
    finally:
        backfill.kill()


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (HERE, HERE, "files"),
        (ANOTHER_HOST, HERE, "files"),
        (OWN_PROCESSES, HERE, "files"),
        (HERE, OWN_PROCESSES, "files"),
        (ANOTHER_HOST, HERE, "postgres"),
        (OWN_PROCESSES, ANOTHER_HOST, "postgres"),
    ],
)
def test_a_living_run_is_never_ended_by_another_and_a_killed_one_by_the_next_command(
    deployed: Deployed, request: pytest.FixtureRequest, first: str, second: str, kept: str
):
    within(first)
    within(second)
    world = generate(68, 30, most_trades=5)
    with deployed(world, lag_seconds=0, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        if kept == "postgres":
            on_postgres(deployment, request.getfixturevalue("server"))
        deployment.want(world.wallets())
        served.state.latency = 0.5
        with (
            backfilling(deployment, first, "first") as killed,
            deployment.instance() as instance,
        ):
            deadline = time.monotonic() + 60
            while served.state.counts.trade_requests < 5:
                assert time.monotonic() < deadline, killed.said.read_text()
                time.sleep(0.05)
            (run,) = instance.get_runs(dg.RunsFilter(statuses=[S.STARTED]))
            with backfilling(deployment, second, "second") as waiting:
                told = waiting.wait_until_it_says(
                    rf"Waiting for run {run.run_id[:8]} \(fetch, started 20\S+ \S+ UTC, process"
                    r" (\d+) on (\S+)\)\. If it hangs, end it on \2: kill -9 \1"
                )
                assert told
                # By this process as well, and however late it is.
                assert end_dead_runs(instance, lambda: time.time() + 86_400) == {}
                assert _status(instance, run.run_id) == S.STARTED
                killed.kill()
                durable, before = stored_spans(deployment), len(served.state.counts.log)
                served.state.latency = 0.0
                assert waiting.process.wait(120) == 0, waiting.said.read_text()
                assert "was dead" not in waiting.said.read_text()
                assert asked_again(served.state.counts.log[before:], durable) == []
            assert _status(instance, run.run_id) == S.STARTED
            done = deployment.polycopy("backfill")
            assert done.returncode == 0
            line = f"run {run.run_id} was dead, and has been ended: the process that ran it"
            assert line in done.stderr
            assert _status(instance, run.run_id) == S.FAILURE
    assert deployment.table() == truth(world)


def _status(instance: dg.DagsterInstance, run_id: str) -> S:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status
