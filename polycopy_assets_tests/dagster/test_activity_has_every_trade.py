"""The feeds check each other: what a source that lies in one of them leaves out is named."""

import datetime as dt
import time
from collections import Counter
from itertools import pairwise
from typing import Any

import dagster as dg
import pytest

from polycopy_assets.checks import witness_of_activity
from polycopy_assets.checks.witness_of_activity import NAME, agreement_of_feeds
from polycopy_assets.cli.runs import run_job, why_failed
from polycopy_assets.demo.entry import DUST, TRADE, Labels, activity_row
from polycopy_assets.demo.freshness import Freshness
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import Trade, World, v2_row
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.ours import Job
from polycopy_assets.pipeline.load import Lacking, lacking
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets_tests.deployment import Deployed, Deployment, truth

LIES = ("activity:one_fill", "trades:one_fill", "activity:one_twin", "trades:one_twin")
Said = Counter[tuple[object, ...]]


def checked(instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    """What the check said in the latest run that loaded `activity`."""
    key = dg.AssetCheckKey(asset_keys(ACTIVITY).table, NAME)
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert found.evaluation
    return found.evaluation


def numbers(said: dg.AssetCheckEvaluation | dg.AssetCheckResult) -> list[Any]:
    names = ("wallets", "activity_lacks", "trades_lack", "combos", "dust")
    return [said.metadata[name].value for name in names]


def never_served(world: World, wallet: str, lie: str) -> tuple[object, ...]:
    """What the check must say of the fill that is left out."""
    feed, _, kind = lie.partition(":")
    trades = world.truth(wallet)
    fill = trades[len(trades) // 2]
    if kind == "one_twin":
        fill = next(a for a, b in pairwise(trades) if alike(world, a) == alike(world, b))
    day = dt.datetime.fromtimestamp(fill.timestamp, dt.UTC).date()
    return (feed, wallet, str(day), fill.tx_hash.lower())


def alike(world: World, fill: Trade) -> tuple[Any, ...]:
    """All that both feeds serve of a fill."""
    (entry,) = [e for e in world.entries(fill.wallet) if e.position == fill.position]
    return (v2_row(fill), activity_row(entry, Labels(), 2e9))


def fetch_in_full(instance: dg.DagsterInstance, deployment: Deployment, *wallets: str) -> None:
    """What the check says to do, by the jobs of both feeds."""
    for feed in (TRADES, ACTIVITY):
        full = {"wallets": list(wallets), "mode": "full"}
        for job, config in ((Job.FETCH, full), (Job.LOAD, {})):
            ran = run_job(instance, deployment.settings, job, config, Progress(), feed=feed)
            assert ran.success, why_failed(ran)


def test_a_trade_that_one_feed_never_serves_is_named_and_combos_and_dust_are_not(
    deployed: Deployed,
):
    world = generate(13, 8, whales=4, whale_trades=700, ledgers=True)
    wallets = [wallet.lower() for wallet in world.wallets()]
    fills = [e for w in wallets for e in world.entries(w) if e.type == TRADE]
    combos = sum(fill.is_combo for fill in fills)
    dust = sum(fill.size < DUST for fill in fills)
    assert combos
    assert dust
    lied = dict(zip(wallets, LIES, strict=False))
    with (
        deployed(world, POLYCOPY_FEEDS="trades,activity") as (deployment, served),
        deployment.instance() as instance,
    ):
        served.state.faults.set_wallets(lied)
        deployment.want(wallets)
        report = deployment.backfill()
        assert (report.errors, report.remaining) == ([], 0)
        (failed,) = report.failed_checks
        assert NAME in failed
        assert sum((truth(world) - deployment.table()).values()) == 2, "no other trade is missing"
        said = checked(instance)
        assert (said.passed, said.severity) == (False, dg.AssetCheckSeverity.ERROR)
        assert numbers(said) == [len(wallets), 2, 2, combos, dust]
        first: Any = said.metadata["first"].value
        named = Counter((x["not_in"], x["wallet"], x["day"], x["tx_hash"]) for x in first)
        assert named == Counter(never_served(world, *each) for each in lied.items())

        served.state.faults.set_wallets({w: lie for w, lie in lied.items() if "trades" in lie})
        fetch_in_full(instance, deployment, *wallets[:4])
        said = checked(instance)
        assert (said.passed, said.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert numbers(said) == [len(wallets), 0, 2, combos, dust]

        served.state.faults.set_wallets({})
        fetch_in_full(instance, deployment, *wallets[:4])
        said = checked(instance)
        assert said.passed, said.description
        assert numbers(said) == [len(wallets), 0, 0, combos, dust]
        assert deployment.table() == truth(world)

        # More than an integer of millionths holds is compared as well.
        deployment.execute(
            "UPDATE {}trades SET shares_normalized = 1e300"
            " WHERE id = (SELECT min(id) FROM {}trades)"
        )
        found = agreement_of_feeds(instance, deployment.store.whole, deployment.warehouse)
        assert numbers(found)[1:3] == [1, 1]

        deployment.execute("DELETE FROM {}polycopy_batches_activity")
        found = agreement_of_feeds(instance, deployment.store.whole, deployment.warehouse)
        assert found.passed
        assert str(found.description).startswith("activity is not loaded yet: batch 1 is not in")


def test_what_a_fetch_records_during_the_comparison_is_not_missed(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = generate(13, 6, whales=2, whale_trades=300, ledgers=True)
    times = sorted(fill.timestamp for w in world.wallets() for fill in world.truth(w))
    with (
        deployed(world, POLYCOPY_FEEDS="trades,activity") as (deployment, served),
        deployment.instance() as instance,
    ):
        served.state.freshness = Freshness(lag=int(time.time()) - times[len(times) // 2])
        deployment.want(world.wallets())
        report = deployment.backfill()
        assert (report.errors, report.failed_checks, report.remaining) == ([], [], 0)
        served.state.freshness = Freshness()

        def run(job: Job, feed: Feed, **config: object) -> None:
            ran = run_job(instance, deployment.settings, job, config, Progress(), feed=feed)
            assert ran.success, why_failed(ran)

        run(Job.FETCH, TRADES, select="all")
        run(Job.LOAD, TRADES)

        def lacking_and_fetched(*args: Any) -> Lacking:
            found = lacking(*args)
            if args[1].feed is ACTIVITY:
                run(Job.FETCH, ACTIVITY, select="all")
            return found

        monkeypatch.setattr(witness_of_activity, "lacking", lacking_and_fetched)
        found = agreement_of_feeds(instance, deployment.store.whole, deployment.warehouse)
        assert found.passed, found.description
        monkeypatch.undo()
        run(Job.LOAD, ACTIVITY)
        said = checked(instance)
        assert said.passed
        assert numbers(said)[:3] == [len(world.wallets()), 0, 0]
