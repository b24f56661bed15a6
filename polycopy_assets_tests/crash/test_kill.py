"""kill -9 at any moment: the next start goes on exactly there."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.state import State
from polycopy_assets_tests.crash.redone import asked_again, stored_spans
from polycopy_assets_tests.deployment import Deployed, Deployment, sample_api, truth

KILLS = 5

pytestmark = pytest.mark.usefixtures("either")


def _kill_while_fetching(deployment: Deployment, state: State, seconds: float) -> bool:
    """Starts a backfill and kills its process group so long after its first request.

    False if it had ended before.
    """
    before = state.counts.trade_requests
    process = deployment.start("backfill", "--json")
    while state.counts.trade_requests == before and process.poll() is None:
        time.sleep(0.01)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def test_killed_five_times_a_backfill_misses_doubles_and_repeats_nothing(deployed: Deployed):
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    world = generate(71, 200, whales=1, whale_trades=30_000)
    with deployed(world, POLYCOPY_CONCURRENCY="8", POLYCOPY_SEGMENT_BYTES="300000") as (
        deployment,
        served,
    ):
        served.state.latency = 0.15
        deployment.want(world.wallets())
        kills = 0
        for _ in range(KILLS):
            before = len(served.state.counts.log)
            durable = stored_spans(deployment)
            if not _kill_while_fetching(deployment, served.state, rng.uniform(0.0, 1.0)):
                break
            kills += 1
            time.sleep(0.3)
            assert asked_again(served.state.counts.log[before:], durable) == []
        durable = stored_spans(deployment)
        before = len(served.state.counts.log)
        done = deployment.polycopy("backfill", "--json")
        assert done.returncode == 0, done.stderr
        assert asked_again(served.state.counts.log[before:], durable) == []
    assert kills == KILLS
    report = json.loads(done.stdout)
    assert (report["complete"], report["failed_checks"]) == (200, [])
    assert deployment.table() == truth(world)
    assert deployment.feed_table.duplicates(5).found == []


def test_killed_while_it_combines_and_loads_it_ends_in_the_same_table(deployed: Deployed):
    world = generate(73, 60, whales=1, whale_trades=20_000)
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        manifests = Path(deployment.settings.store) / "combined"
        process = deployment.start("backfill")
        deadline = time.monotonic() + 60
        while not manifests.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        served.state.counts.reset()
        done = deployment.polycopy("backfill", "--json")
        assert served.state.counts.trade_requests == 0
    assert done.returncode == 0, done.stderr
    assert deployment.table() == truth(world)


def test_two_backfills_at_once_both_end_well_and_double_nothing(tmp_path: Path):
    world = generate(79, 40, whales=1, whale_trades=15_000)
    with sample_api(world) as served:
        served.state.latency = 0.02
        one = Deployment(tmp_path, served.url, POLYCOPY_SEGMENT_BYTES="100000")
        two = Deployment(tmp_path, served.url, POLYCOPY_SEGMENT_BYTES="170000")
        one.want(world.wallets())
        processes = [deployment.start("backfill", "--json") for deployment in (one, two)]
        ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    assert one.table() == truth(world)


_DIE_AFTER_CREATE = """
import os, signal
from polycopy_assets.store.local import LocalStore

real, left = LocalStore.create, [{number}]

def create(self, name, data, metadata=None):
    real(self, name, data, metadata or {{}})
    if name.startswith("trades/"):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

LocalStore.create = create
"""


@pytest.mark.parametrize("number", [1, 2])
def test_what_a_killed_first_fetch_left_is_never_taken_for_all_there_is(
    deployed: Deployed, number: int
):
    """The walker of the oldest part is often done first: alone it looks like full coverage."""
    world = generate(76, 1, whales=1, whale_trades=60_000)
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        killed = deployment.polycopy("backfill", first=_DIE_AFTER_CREATE.format(number=number))
        assert killed.returncode == -signal.SIGKILL
        durable = stored_spans(deployment)
        assert sum(len(spans) for spans in durable.values()) >= number
        before = len(served.state.counts.log)
        deployment.reconcile("--apply")
        done = deployment.polycopy("backfill", "--json")
        assert done.returncode == 0, done.stderr
        assert asked_again(served.state.counts.log[before:], durable) == []
    assert deployment.table() == truth(world)
