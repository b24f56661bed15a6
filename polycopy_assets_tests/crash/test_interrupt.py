"""Told to stop: a command ends within seconds, keeps what was finished, and begins nothing else."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets_tests.crash.redone import asked_again, stored_spans
from polycopy_assets_tests.deployment import Deployment, sample_api, truth
from polycopy_assets_tests.old_job import OldJob

SAID = "polycopy: interrupted: start it again, it goes on where it was"

AT_AN_EVENT = """
import os, signal
from dagster._core.storage.event_log import SqliteEventLogStorage
write, seen = SqliteEventLogStorage.store_event, []
def store_event(self, event):
    if event.is_dagster_event and event.dagster_event.event_type_value == "{event}":
        seen.append(event)
        if len(seen) == {nth}:
            os.kill(os.getpid(), signal.SIGTERM)
    return write(self, event)
SqliteEventLogStorage.store_event = store_event
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


def jobs(deployment: Deployment) -> list[str]:
    """The jobs that have been run."""
    with deployment.instance() as instance:
        return [run.job_name for run in instance.get_runs()]


def test_sigterm_stops_within_seconds_and_keeps_what_was_finished(tmp_path: Path):
    world = generate(83, 100)
    with sample_api(world) as served:
        served.state.latency = 0.3
        deployment = Deployment(tmp_path, served.url, POLYCOPY_CONCURRENCY="4")
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
def test_it_stops_though_wallets_have_failed(tmp_path: Path, command: str, signum: signal.Signals):
    world = generate(65, 60, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with sample_api(world) as served:
        served.state.latency = 0.5
        served.state.faults.set_wallets(dict.fromkeys(wallets[:2], "404"))
        deployment = Deployment(tmp_path, served.url, POLYCOPY_CONCURRENCY="2")
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
        assert process.returncode == 1
        assert said.splitlines()[-1] == SAID
        assert "load" not in jobs(deployment)
        with deployment.instance() as instance:
            slots = instance.event_log_storage.get_concurrency_info("source")
        assert slots.active_run_ids == set(), "somebody still holds the turn"
        served.state.latency = 0.0
        served.state.faults.set_wallets({})
        assert deployment.here(*command.split())[0] == 0
    assert deployment.table() == truth(world)


@pytest.mark.parametrize(
    ("event", "nth"),
    [
        pytest.param("ASSET_MATERIALIZATION", 5, id="suspended-step"),
        pytest.param("PIPELINE_SUCCESS", 1, id="after-the-last-step"),
    ],
)
def test_it_stops_whatever_dagster_is_at(tmp_path: Path, event: str, nth: int):
    """A step that is suspended then is closed by nobody; the run's end hears no interrupt."""
    world = generate(84, 20, most_trades=5)
    with sample_api(world) as served:
        deployment = Deployment(tmp_path, served.url)
        deployment.want(world.wallets())
        meddled = AT_AN_EVENT.format(event=event, nth=nth)
        done = deployment.polycopy("backfill", first=meddled, timeout=30)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == SAID
        assert jobs(deployment) == ["fetch"]
        assert deployment.backfill().complete == 20
    assert deployment.table() == truth(world)


@pytest.mark.parametrize("module", ["dotenv", "dagster", "polycopy_assets.assembly"])
@pytest.mark.parametrize("signum", ["SIGINT", "SIGTERM"])
def test_it_stops_in_one_line_while_it_is_still_importing(tmp_path: Path, module: str, signum: str):
    deployment = Deployment(tmp_path, "http://127.0.0.1:9")
    meddled = WHILE_IT_IMPORTS.format(module=module, signum=signum)
    done = deployment.polycopy("status", first=meddled, new=True)
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (1, "", [SAID])
