"""A status, a stream and a clock that lie by two hours, and what is left when they have stopped."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polycopy_assets.demo import freshness
from polycopy_assets.demo.freshness import Freshness
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.trades import horizon as horizons
from polycopy_assets_tests.deployment import (
    Deployed,
    Deployment,
    new_trades,
    records_of,
    sample_api,
    truth,
)

pytestmark = pytest.mark.exhaustive

HOURS = 2 * 3600
LIES: dict[str, dict[str, Any]] = {
    "a status that is not refreshed": {"hidden_lag": HOURS, "status_frozen": -HOURS},
    "a status that hides its age": {
        "hidden_lag": HOURS,
        "status_frozen": -HOURS,
        "age_frozen": True,
    },
    "a stream that stands still": {"stalled_stream": HOURS},
    "a clock of this machine that is ahead": {"date_offset": -HOURS},
    "a clock of this machine that is behind": {"date_offset": HOURS},
    "no clock": {"no_date": True},
    "a feed that trails by three years": {"lag": 3 * 365 * 86_400},
    "a lag that is no lag": {"status": {"serving": {"lag_seconds": 1e12}}},
    "no lag": {"status": {"serving": {"lag_seconds": None}}},
    "a moment that is none": {"status": {"computed_at": 1e300}},
}


@contextmanager
def lagging(root: Path, **settings: str) -> Iterator[tuple[Deployment, Served]]:
    """A deployment that was filled when all was well, and trades of the last three hours since."""
    world = generate(61, 6, whales=0, most_trades=30)
    with sample_api(world) as served:
        deployment = Deployment(root, served.url, POLYCOPY_MAX_LAG="", **settings)
        deployment.want(world.wallets())
        served.state.freshness = Freshness(lag=3000)
        assert deployment.backfill().failures == []
        now = int(time.time())
        for wallet in world.wallets():
            world.add(new_trades(wallet, now - 2900, 40))
            world.add(new_trades(wallet, now - 400, 5))
        yield deployment, served


@pytest.mark.parametrize("lie", LIES)
def test_what_lies_and_then_tells_the_truth_has_lost_nothing(tmp_path: Path, lie: str):
    said = dict(LIES[lie])
    if "status_frozen" in said:
        said["status_frozen"] += time.time()
    with lagging(tmp_path) as (deployment, served):
        world = served.state.world
        before = deployment.table()
        served.state.freshness = Freshness(**said)
        lied = deployment.backfill(refresh=True)
        assert len(lied.failures) == len(world.wallets()), "the lie was believed"
        assert all(each.reason.startswith("not tried: ") for each in lied.failures)
        assert deployment.table() == before
        assert lied.complete == len(world.wallets()), "what there was is not complete any more"
        served.state.freshness = Freshness(lag=0)
        assert deployment.backfill(refresh=True).failures == []
    assert deployment.table() == truth(world)


def test_a_stalled_engine_that_serves_no_trades_holds_up_nothing(tmp_path: Path):
    with lagging(tmp_path) as (deployment, served):
        served.state.freshness = Freshness(lag=0, pnl_lag=10 * HOURS)
        assert deployment.backfill(refresh=True).failures == []
    assert deployment.table() == truth(served.state.world)


def test_a_feed_that_trails_within_the_bound_is_followed_as_far_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with lagging(tmp_path, POLYCOPY_SOURCE="polymarket") as (deployment, served):
        now = int(time.time())
        monkeypatch.setattr(freshness, "time", SimpleNamespace(time=lambda: now))
        served.state.freshness = Freshness(lag=5, stalled_stream=1200, cached=100)
        assert deployment.backfill(refresh=True).failures == []
        with deployment.instance() as instance:
            (item, *_) = records_of(instance, [served.state.world.wallets()[0].lower()])
        noted = item.horizon
        assert noted is not None
        assert (noted.lag, noted.until) == (1200, item.covered_until)
        assert noted.until == now - 100 - 1200 - 300
        served.state.freshness = Freshness(lag=0)
        assert deployment.backfill(refresh=True).failures == []
    assert deployment.table() == truth(served.state.world)


def test_dome_has_a_clock_too(deployed: Deployed, monkeypatch: pytest.MonkeyPatch):
    world = generate(62, 3, whales=0, most_trades=20)
    monkeypatch.setenv("DOME_API_KEY", "demo-key")
    with deployed(world, POLYCOPY_SOURCE="dome", DOME_API_KEY="demo-key") as (deployment, served):
        deployment.want(world.wallets())
        served.state.freshness = Freshness(date_offset=-HOURS)
        report = deployment.backfill()
        assert "7,2" in report.failures[0].reason
        assert report.complete == 0
        served.state.freshness = Freshness()
        assert deployment.backfill().failures == []
    assert deployment.table() == truth(world)


@contextmanager
def recorded_too_far(root: Path) -> Iterator[tuple[Deployment, Served]]:
    """As `deployed`, but fetched while the feed trailed by two hours and nothing said so."""
    with lagging(root) as (deployment, served):
        served.state.freshness = Freshness(lag=0, hidden_lag=HOURS)
        assert deployment.backfill(refresh=True).failures == []
        assert deployment.table() != truth(served.state.world), "nothing was lost"
        yield deployment, served


@contextmanager
def fetched_too_far(root: Path) -> Iterator[tuple[Deployment, Served]]:
    """The same, but in the first fetch: the segments themselves reach too far."""
    world = generate(61, 6, most_trades=20)
    with sample_api(world) as served:
        served.state.freshness = Freshness(lag=0, hidden_lag=HOURS)
        deployment = Deployment(root, served.url, POLYCOPY_MAX_LAG="3600")
        deployment.want(world.wallets())
        for wallet in world.wallets():
            world.add(new_trades(wallet, int(time.time()) - HOURS // 2, 2))
        assert deployment.backfill().failures == []
        assert deployment.table() != truth(world), "nothing was lost"
        yield deployment, served


def test_coverage_that_was_stated_too_far_is_taken_back_by_the_next_fetch(tmp_path: Path):
    with recorded_too_far(tmp_path) as (deployment, served):
        world = served.state.world
        served.state.freshness = Freshness(lag=3400)
        with deployment.instance() as instance:
            deployment.fetch(instance, wallets=[world.wallets()[0].lower()])
        assert deployment.reconcile()["counts"] == {"consistent": len(world.wallets())}
        served.state.freshness = Freshness(lag=0)
        assert deployment.backfill(refresh=True).failures == []
    assert deployment.table() == truth(world)


def test_coverage_beyond_a_horizon_that_went_back_is_fetched_again(tmp_path: Path):
    with recorded_too_far(tmp_path) as (deployment, served):
        world = served.state.world
        served.state.freshness = Freshness(lag=3400, hidden_lag=HOURS)  # half of the truth
        assert deployment.backfill(refresh=True).failures == []
        served.state.freshness = Freshness(lag=0)
        assert deployment.backfill(refresh=True).failures == []
        assert deployment.reconcile()["counts"] == {"consistent": len(world.wallets())}
    assert deployment.table() == truth(world)


def test_one_wallets_younger_horizon_makes_the_others_coverage_a_finding(tmp_path: Path):
    with fetched_too_far(tmp_path) as (deployment, served):
        world = served.state.world
        wallets = [wallet.lower() for wallet in world.wallets()]
        served.state.freshness = Freshness(lag=3400)
        with deployment.instance() as instance:
            deployment.fetch(instance, wallets=wallets[:1])
        found = deployment.reconcile(code=1)["counts"]
        assert found["ahead"] == len(wallets) - 1
        served.state.freshness = Freshness(lag=0)
        told = deployment.reconcile("--apply")
        assert told["left"] == {"consistent": len(wallets)}
        deployment.backfill(refresh=True)
        assert deployment.reconcile()["counts"] == {"consistent": len(wallets)}
        markers = [item.name for item in deployment.store.list("trades/")]
        assert not [name for name in markers if name.endswith("refetch.json")]
    assert deployment.table() == truth(world)


def test_coverage_in_the_future_is_a_finding_and_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As an older version recorded it, on a machine whose clock was two hours ahead."""
    with lagging(tmp_path) as (deployment, served):
        world = served.state.world
        ahead = time.time() + HOURS
        real = horizons.horizon

        def fooled(said: Any, feed: str, **options: Any) -> Any:
            found = real(said, feed, **options)
            return horizons.Horizon(until=int(ahead), at=found.at - 10**6)

        monkeypatch.setattr("polycopy_assets.sources.polymarket.horizon", fooled)
        assert deployment.backfill(refresh=True).failures == []
        monkeypatch.undo()
        wallet = world.wallets()[0].lower()
        assert read_coverage(deployment.store).statements[wallet].until == int(ahead)
        assert deployment.reconcile(code=1)["counts"] == {"ahead": len(world.wallets())}
        served.state.freshness = Freshness(lag=0)
        with deployment.instance() as instance:
            deployment.fetch(instance, wallets=[wallet])
            (item,) = records_of(instance, [wallet])
        assert item.covered_until <= time.time()
        # It has taken back what was stated of the others, too.
        kept = read_coverage(deployment.store).statements.values()
        assert all(each.until <= time.time() for each in kept)
        assert deployment.backfill(refresh=True).failures == []
        told = deployment.reconcile("--apply")
        assert told["left"] == {"consistent": len(world.wallets())}
        assert deployment.reconcile()["counts"] == {"consistent": len(world.wallets())}
    assert deployment.table() == truth(world)
