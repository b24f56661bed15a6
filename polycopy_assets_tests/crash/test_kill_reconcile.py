"""`polycopy reconcile --apply` killed again and again: it ends where it would have ended."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.old_job import OldJob, old_file

PROCESSED = LAST + 864_000
KILLS = 10
CONCURRENCY = 4


@pytest.mark.parametrize("policy", ["verified", "refetch"])
def test_killed_at_any_moment_it_goes_on_and_settles_everything(deployed: Deployed, policy: str):
    world = generate(31, 260, whales=2, whale_trades=4000, most_trades=40)
    wallets = [wallet.lower() for wallet in world.wallets()]
    filled = [wallet for wallet in wallets if world.truth(wallet)]
    adoptable, false, orphan = filled[:90], filled[90:150], [*filled[150:], *wallets]
    orphan = [w for w in dict.fromkeys(orphan) if w not in adoptable and w not in false]
    with deployed(
        world,
        POLYCOPY_SEGMENT_BYTES="20000",
        POLYCOPY_CONCURRENCY=str(CONCURRENCY),
        POLYCOPY_ADOPT=policy,
    ) as (deployment, api):
        api.state.latency = 0.01
        deployment.want(orphan)
        deployment.backfill()
        deployment.lose_record()
        deployment.execute(
            "INSERT INTO trades (wallet_address, id, timestamp)"
            " SELECT wallet_address, 'double', timestamp FROM trades WHERE price > 0.5"
        )
        old = OldJob(deployment)
        for wallet in adoptable:
            trades = world.truth(wallet)
            old.put(wallet, old_file(trades))
            old.tick(wallet, len(trades), at=PROCESSED)
        for wallet in false:
            old.tick(wallet, 3, at=PROCESSED)
        old.write()
        api.state.counts.reset()
        killed = sum(_killed(deployment, 1.6 + 0.35 * number) for number in range(KILLS))
        assert killed >= 3, "it was done before it could be killed"
        done = deployment.polycopy("reconcile", "--apply", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["left"] == {"consistent": 260}
        assert deployment.table() == truth(world)
        requests = api.state.counts.requests
        if policy == "verified":
            assert set(requests) == set(false)
            # What is recorded is never asked for again: only what was in flight when it was killed.
            assert sum(requests.values()) <= len(false) + killed * CONCURRENCY
        else:
            assert set(requests) == {*false, *adoptable}
        assert deployment.backfill().requests == 0


def _killed(deployment: Deployment, after: float) -> bool:
    """Whether a reconciliation was under way when it was killed, with `after` seconds to live."""
    process = subprocess.Popen(
        [sys.executable, "-m", "polycopy_assets", "reconcile", "--apply"],
        env=deployment.process_environ(),
        cwd=deployment.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + after
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False
