"""Both feeds with one command: killed five times, nothing is lost, doubled or asked again."""

import json
import random
from collections import Counter
from decimal import Decimal

from polycopy_assets.demo.entry import Labels, activity_row
from polycopy_assets.demo.faults import RANDOM_FAULTS, Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import World
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets_tests.crash.killed import killed
from polycopy_assets_tests.crash.redone import asked_again, stored_spans
from polycopy_assets_tests.deployment import Deployed, Deployment, Trades, truth

WALLETS = 200
FEEDS = (TRADES, ACTIVITY)

DURABLE = """
from polycopy_assets.store.local import LocalStore
after(LocalStore, "create", {calls}, of="{folder}")
"""
"""As soon as so many segments are durable, of which some are not in the record yet."""

RECORDED = """
from polycopy_assets.assets.step_record import StepRecord
from polycopy_assets.feeds.activity.feed import ACTIVITY
flush = StepRecord.flush
def flushed(self):
    flush(self)
    if self._record.feed is ACTIVITY:
        die()
StepRecord.flush = flushed
"""
COMBINED_AND_NOT_LOADED = """
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable
load = DuckDBTable.load
def loaded(self, *args, **options):
    if self.feed is FEEDS["{feed}"]:
        die()
    return load(self, *args, **options)
DuckDBTable.load = loaded
"""


def activity(world: World) -> Trades:
    """What the table `activity` must hold: all but tips, as a multiset."""
    found: Trades = Counter()
    for wallet in world.wallets():
        for entry in world.entries(wallet):
            row = activity_row(entry, Labels(), 2e9)
            if row["type"] != "TIP":
                amounts = [Decimal(f"{row[name]:.6f}") for name in ("size", "usdc_size")]
                identity = (row["timestamp"], row["type"], row["transaction_hash"].lower())
                named = (row["side"] or None, row["token_id"] or None, row["condition_id"] or None)
                found[wallet.lower(), *identity, *named, *amounts] += 1
    return found


def in_the_table(deployment: Deployment) -> Trades:
    return Counter(
        deployment.rows(
            "SELECT wallet_address, CAST(epoch(timestamp) AS BIGINT), type, lower(tx_hash), side,"
            " token_id, condition_id, shares, usdc FROM {}activity"
        )
    )


def both_tables_hold_the_truth(deployment: Deployment, world: World) -> None:
    assert deployment.table() == truth(world)
    assert in_the_table(deployment) == activity(world)
    for feed in FEEDS:
        assert deployment.warehouse.table(feed).duplicates(5).found == []


def test_two_feeds_of_200_wallets_killed_five_times_among_faults_end_as_the_truth(
    deployed: Deployed,
):
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    world = generate(13, WALLETS, whales=1, whale_trades=1_500, most_trades=40, ledgers=True)
    rates: dict[str, float] = dict.fromkeys(RANDOM_FAULTS, 0.02)
    faults = Faults(seed, hang_seconds=2.5)
    kills = (
        DURABLE.format(folder=TRADES.names.segments, calls=rng.randint(2, 150)),
        COMBINED_AND_NOT_LOADED.format(feed="trades"),
        DURABLE.format(folder=ACTIVITY.names.segments, calls=rng.randint(2, 80)),
        RECORDED,
        COMBINED_AND_NOT_LOADED.format(feed="activity"),
    )
    with deployed(
        world, faults=faults, POLYCOPY_FEEDS="trades,activity", POLYCOPY_INSTANCE="ephemeral"
    ) as (deployment, served):
        state = served.state
        deployment.here("wallets", "add", *world.wallets())
        faults.set(rates)
        durable, said = {}, ""
        for kill in (*kills, ""):
            durable = {feed: stored_spans(deployment, feed) for feed in FEEDS}
            before = {feed: len(state.counts_of(feed.name).log) for feed in FEEDS}
            if kill:
                killed(deployment, kill, "backfill")
            else:
                ended, said = deployment.here("backfill", "--json")
                assert ended == 0, said
            for feed in FEEDS:
                asked = state.counts_of(feed.name).log[before[feed] :]
                assert asked_again(asked, durable[feed]) == [], (feed.name, kill)
        assert set(faults.counts) == set(RANDOM_FAULTS), faults.counts
        assert (len(durable[TRADES]), len(durable[ACTIVITY])) == (WALLETS, WALLETS)
        both_tables_hold_the_truth(deployment, world)

        found = json.loads(said)
        assert (found["complete"], found["remaining"], found["errors"]) == (WALLETS, 0, [])
        trades, rows = truth(world).total(), activity(world).total()
        assert [(each["feed"], each["table_rows"]) for each in found["feeds"]] == [
            ("trades", trades),
            ("activity", rows),
        ]
        state.counts.reset()
        state.activity.reset()
        ended, said = deployment.here("backfill")
        assert (ended, said.splitlines()[-1]) == (
            0,
            (
                f"{WALLETS} of {WALLETS} wallets complete, 0 failed; {trades:,} rows in trades,"
                f" {rows:,} rows in activity."
            ),
        )
        assert not state.activity.requests
        assert not state.counts.requests
        snapshots = FeedStore(deployment.store, ACTIVITY).names.snapshots
        assert list(deployment.store.list(snapshots)), "each feed has its own"
