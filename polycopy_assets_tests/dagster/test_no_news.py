"""A refresh without news costs next to nothing, and everything that is decided stays right."""

import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._serdes import serialize_value  # the size of an event in the database

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.record import attempts
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.trades.interval import Interval
from polycopy_assets_tests.deployment import Deployed, Deployment, new_trades, records_of, truth
from polycopy_assets_tests.of_trades import KEYS, record_in

DAY = 86_400
MATERIALIZED = dg.DagsterEventType.ASSET_MATERIALIZATION


def with_a_wallet_without_trades(number: int) -> tuple[World, str]:
    world = generate(number, 8, most_trades=30)
    return world, "0x" + "e" * 40


def filled(deployment: Deployment, world: World, *others: str) -> list[str]:
    wallets = [wallet.lower() for wallet in (*world.wallets(), *others)]
    deployment.want(wallets)
    assert deployment.backfill().remaining == 0
    return wallets


def objects(deployment: Deployment) -> set[str]:
    return {item.name for item in deployment.store.list("trades/")}


def events(deployment: Deployment) -> int:
    """How many materializations of wallets there are."""
    with deployment.instance() as instance:
        found = instance.fetch_materializations(KEYS.wallets, limit=1000)
        return sum(item.partition_key is not None for item in found.records)


def later(served: Served, seconds: int) -> None:
    """Time passes, for the source: its feed lags less."""
    served.state.lag_seconds -= seconds
    served.state.counts.reset()


def spans(store: FeedStore) -> dict[str, Interval]:
    """The time without trades of each wallet."""
    return {wallet: item.span for wallet, item in read_coverage(store).statements.items()}


def covered(deployment: Deployment, wallets: list[str]) -> dict[str, int]:
    """Until when the records cover the wallets."""
    with deployment.instance() as instance:
        return {item.wallet: item.covered_until for item in records_of(instance, wallets)}


def test_a_refresh_without_news_writes_one_object_for_all_wallets(deployed: Deployed):
    world, empty = with_a_wallet_without_trades(71)
    with deployed(world, lag_seconds=DAY) as (deployment, served):
        wallets = filled(deployment, world, empty)
        before, written = objects(deployment), events(deployment)
        assert not any(empty in name for name in before), "no segment without trades"
        for number in range(1, 4):
            later(served, 3_600)
            report = deployment.backfill(refresh=True)
            assert (report.complete, report.failed, report.trades_fetched) == (len(wallets), 0, 0)
            assert objects(deployment) == before
            assert events(deployment) == written
            stated = spans(deployment.store)
            assert set(stated) == set(wallets)
            assert len({span.until for span in stated.values()}) == 1, number
        assert deployment.reconcile()["counts"] == {"consistent": len(wallets)}
        served.state.counts.reset()
        assert deployment.backfill().requests == 0


def test_the_run_says_once_how_many_wallets_had_no_news(deployed: Deployed):
    world, empty = with_a_wallet_without_trades(72)
    with deployed(world, lag_seconds=DAY) as (deployment, served):
        wallets = filled(deployment, world, empty)
        later(served, 3_600)
        deployment.backfill(refresh=True)
        with deployment.instance() as instance:
            found = instance.fetch_observations(KEYS.wallets, limit=20).records
        said = [
            item.asset_observation.metadata["wallets_without_news"].value
            for item in found
            if item.asset_observation and "wallets_without_news" in item.asset_observation.metadata
        ]
        assert said == [len(wallets)]


def test_news_after_days_without_continue_where_the_segments_end(deployed: Deployed):
    world, empty = with_a_wallet_without_trades(73)
    with deployed(world, lag_seconds=DAY) as (deployment, served):
        wallets = filled(deployment, world, empty)
        later(served, 3_600)
        deployment.backfill(refresh=True)
        first = wallets[0]
        at = int(time.time()) - 10_000
        world.add([*new_trades(first, at, 5), *new_trades(empty, at, 3)])
        later(served, DAY - 3_700)
        assert deployment.backfill(refresh=True).trades_fetched == 8
        assert served.state.counts.rows.total() == 8
        assert deployment.table() == truth(world)
        with deployment.instance() as instance:
            for record in records_of(instance, [first, empty]):
                ends = [0, *(segment.until for segment in record.segments)]
                assert [segment.start for segment in record.segments] == ends[:-1]
        assert deployment.reconcile()["counts"] == {"consistent": len(wallets)}


def test_a_lost_record_is_rebuilt_with_the_time_without_trades(deployed: Deployed):
    world, empty = with_a_wallet_without_trades(74)
    with deployed(world, lag_seconds=DAY) as (deployment, served):
        wallets = filled(deployment, world, empty)
        with deployment.instance() as instance:
            versions = record_in(instance).versions()
        later(served, 3_600)
        deployment.backfill(refresh=True)
        until = {span.until for span in spans(deployment.store).values()}
        deployment.lose_record()
        served.state.counts.reset()
        deployment.reconcile("--apply")
        assert served.state.counts.requests == {}
        assert set(covered(deployment, wallets).values()) == until
        with deployment.instance() as instance:
            assert record_in(instance).versions() == versions
        assert deployment.reconcile()["counts"] == {"consistent": len(wallets)}
        manifests = list(deployment.store.list("combined/manifests/"))
        assert len(manifests) == 1, "nothing is combined again"


@pytest.mark.parametrize("harm", ["gone", "torn"])
def test_coverage_that_is_lost_is_asked_for_again(deployed: Deployed, harm: str):
    world, empty = with_a_wallet_without_trades(75)
    with deployed(world, lag_seconds=DAY) as (deployment, served):
        wallets = filled(deployment, world, empty)
        for item in list(deployment.store.list("coverage/")):
            if harm == "gone":
                deployment.store.delete(item.name)
            else:
                (Path(deployment.settings.store) / item.name).write_bytes(b"torn")
        found = deployment.reconcile(code=1)
        assert {item["wallet"] for item in found["findings"] if item["finding"] == "ghost"} == {
            empty
        }
        served.state.counts.reset()
        deployment.reconcile("--apply")
        assert set(served.state.counts.rows) <= {empty}
        assert deployment.reconcile()["counts"] == {"consistent": len(wallets)}


def test_a_wallet_that_failed_before_is_materialized_though_it_has_no_news(deployed: Deployed):
    world, _ = with_a_wallet_without_trades(76)
    with deployed(world, lag_seconds=DAY) as (deployment, served):
        wallets = filled(deployment, world)
        written = events(deployment)
        later(served, 3_600)
        served.state.faults.set_wallets({world.wallets()[0]: "400"})
        assert deployment.backfill(refresh=True).failed == 1
        served.state.faults.set_wallets({})
        later(served, 3_600)
        assert deployment.backfill(refresh=True).failed == 0
        with deployment.instance() as instance:
            assert attempts.failed(record_in(instance)) == []
        assert events(deployment) == written + 1
        assert deployment.reconcile()["counts"] == {"consistent": len(wallets)}


def test_a_full_refetch_finds_trades_where_there_were_none(deployed: Deployed):
    """The source had withheld them: what was stated about that time has to be taken back."""
    world, empty = with_a_wallet_without_trades(77)
    with deployed(world, lag_seconds=DAY) as (deployment, served):
        wallets = filled(deployment, world, empty)
        later(served, DAY // 2)
        deployment.backfill(refresh=True)
        late = [*new_trades(wallets[0], int(time.time()) - DAY * 3 // 4, 4)]
        late += new_trades(empty, int(time.time()) - 5 * DAY, 6)
        world.add(late)
        later(served, 600)
        assert deployment.backfill(refresh=True).trades_fetched == 0
        with deployment.instance() as instance:
            deployment.fetch(instance, wallets=[wallets[0], empty], mode="full")
            deployment.load(instance)
        assert deployment.table() == truth(world)
        stated = spans(deployment.store)
        with deployment.instance() as instance:
            for record in records_of(instance, [wallets[0], empty]):
                span = stated.get(record.wallet)
                end = record.segments[-1].until
                assert span is None or span.start >= end, "an earlier statement still counts"
        assert deployment.reconcile()["counts"] == {"consistent": len(wallets)}


def test_chosen_partitions_are_materialized_one_by_one(deployed: Deployed):
    world, empty = with_a_wallet_without_trades(78)
    with deployed(world, lag_seconds=DAY) as (deployment, served):
        filled(deployment, world, empty)
        written = events(deployment)
        later(served, 3_600)
        said = deployment.dagster(
            "asset",
            "materialize",
            *("-m", "polycopy_assets.definitions", "--select", "wallet_trades"),
            *("--partition", empty),
        )
        assert said.returncode == 0, said.stderr[-2000:]
        assert events(deployment) == written + 1


def test_a_record_stays_below_3200_bytes(deployed: Deployed):
    world = generate(79, 2, most_trades=10)
    with deployed(world, lag_seconds=DAY) as (deployment, served):
        wallets = filled(deployment, world)
        for number in range(24):
            world.add(new_trades(wallets[0], int(time.time()) - DAY + 1_100 * number + 100, 1))
            later(served, 1_100)
            deployment.backfill(refresh=True)
        with deployment.instance() as instance:
            found = instance.fetch_materializations(
                dg.AssetRecordsFilter(KEYS.wallets, asset_partitions=wallets[:1]),
                limit=100,
            ).records
            sizes = [len(serialize_value(item.event_log_entry)) for item in found]
            (record,) = records_of(instance, wallets[:1])
        assert len(found) > 12
        assert max(sizes) <= 3_200
        assert 8 < len(record.segments) <= 16
        theirs = {name for name in objects(deployment) if wallets[0] in name}
        assert theirs == {segment.name for segment in record.segments}
        assert deployment.table() == truth(world)
