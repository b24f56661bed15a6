"""`polycopy reconcile --source` killed by SIGKILL: what was answered is not asked for again."""

import os
import signal
import time
from collections.abc import Callable

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployed, Deployment, truth

CONCURRENCY = 3


def test_a_killed_comparison_goes_on_with_those_that_were_not_asked_for(deployed: Deployed):
    world = generate(91, 120, most_trades=9)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with deployed(world, POLYCOPY_CONCURRENCY=str(CONCURRENCY)) as (deployment, api):
        deployment.want(wallets)
        deployment.backfill()
        api.state.faults.set_wallets({wallets[0]: "count_off"})
        api.state.latency = 0.1
        api.state.counts.reset()
        counts = api.state.counts
        for third in (40, 80):
            _killed_when(deployment, lambda third=third: len(counts.count_arrivals) >= third)
        killed_at = len(counts.count_arrivals)
        assert killed_at < 120
        told = deployment.reconcile("--source")["source"]
        assert (told["agree"], len(told["disagree"])) == (119, 1)
        assert set(counts.count_requests) == set(wallets)
        # Again are only those that were in flight, or not recorded yet, when it was killed.
        again = len(counts.count_arrivals) - 120
        assert again <= 2 * (CONCURRENCY + 4 * CONCURRENCY)
        assert max(counts.count_requests.values()) <= 3
        assert not counts.trade_requests
        before = len(counts.count_arrivals)
        assert deployment.reconcile("--source")["source"] == told
        assert len(counts.count_arrivals) == before


def test_a_killed_refetch_of_what_differs_ends_where_it_would_have_ended(deployed: Deployed):
    world = generate(92, 9, whales=6, whale_trades=2500, most_trades=9)
    wallets = [wallet.lower() for wallet in world.wallets()]
    lying = wallets[:6]
    with deployed(world, POLYCOPY_CONCURRENCY=str(CONCURRENCY)) as (deployment, api):
        api.state.faults.set_wallets(dict.fromkeys(lying, "page_edge"))
        deployment.want(wallets)
        deployment.backfill()
        assert deployment.table() != truth(world)
        api.state.faults.set_wallets({})
        api.state.latency = 0.15
        api.state.counts.reset()
        counts = api.state.counts
        for pages in (4, 12):
            _killed_when(deployment, lambda pages=pages: counts.trade_requests >= pages, "--apply")
        assert 4 <= counts.trade_requests < 36
        api.state.latency = 0.0
        told = deployment.reconcile("--source", "--apply")
        assert (told["source"]["agree"], told["source"]["disagree"]) == (9, [])
        assert told["left"] == {"consistent": 9}
        assert deployment.table() == truth(world)
        assert set(counts.requests) == set(lying)
        counts.reset()
        told = deployment.reconcile("--source", "--apply")
        assert (told["source"]["agree"], told["source"]["refetched"]) == (9, [])
        assert not counts.count_arrivals
        assert not counts.trade_requests


def _killed_when(deployment: Deployment, moment: Callable[[], bool], *options: str) -> None:
    """Starts a comparison, and kills it when it is so far."""
    process = deployment.start("reconcile", "--source", *options)
    deadline = time.monotonic() + 60
    while not moment() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
