"""A home, store and table of the version before compaction: nothing is fetched or loaded again."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.trades.compaction import MOST
from polycopy_assets_tests.deployment import Deployment, records_of, sample_api, truth
from polycopy_assets_tests.of_trades import COVERAGE, PREFIX, parse_name
from polycopy_assets_tests.old_home import (
    BEFORE_COMPACTION,
    MONTHS,
    unpack,
    world_before_compaction,
)

pytestmark = pytest.mark.files


@contextmanager
def moved_in(root: Path) -> Iterator[tuple[World, Served, Deployment]]:
    """The world, the sample API over it, and the older version's deployment, unpacked."""
    world = world_before_compaction()
    with sample_api(world) as served:
        yield world, served, unpack(root, served.url, BEFORE_COMPACTION)


def segments_by_wallet(deployment: Deployment) -> Counter[str]:
    names = (item.name for item in deployment.store.list(PREFIX))
    return Counter(parsed[0] for name in names if (parsed := parse_name(name)))


def content(deployment: Deployment) -> list[tuple[object, ...]]:
    return deployment.rows("SELECT * FROM {}trades ORDER BY ALL")


def test_the_archive_holds_what_it_is_about(tmp_path: Path):
    with moved_in(tmp_path) as (world, _, deployment):
        assert min(segments_by_wallet(deployment).values()) == len(MONTHS) > MOST
        assert not list(deployment.store.list(COVERAGE))
        assert deployment.table() < truth(world), "there is nothing left to refresh"


def test_a_backfill_and_a_reconcile_ask_for_nothing_and_change_no_row(tmp_path: Path):
    with moved_in(tmp_path) as (world, served, deployment):
        before, segments = content(deployment), segments_by_wallet(deployment)
        done = deployment.backfill()
        assert (done.failures, done.failed_checks, done.errors) == ([], [], [])
        assert deployment.reconcile()["counts"] == {"consistent": len(world.wallets())}
        assert served.state.counts.trade_requests == 0
        assert content(deployment) == before
        assert segments_by_wallet(deployment) == segments


def test_refreshes_bring_what_is_newer_and_compact_what_is_old(tmp_path: Path):
    with moved_in(tmp_path) as (world, served, deployment):
        before, wallets = deployment.table(), [wallet.lower() for wallet in world.wallets()]
        with deployment.instance() as instance:
            until = {r.wallet: r.covered_until for r in records_of(instance, wallets)}
        first = deployment.backfill(refresh=True)
        assert (first.failures, first.failed_checks, first.errors) == ([], [], [])
        assert first.trades_fetched == (truth(world) - before).total() > 0
        assert served.state.counts.rows.total() == first.trades_fetched, "rows came twice"
        for asked in served.state.counts.log:
            assert asked.start >= until[asked.wallet], "covered time was requested again"
        assert deployment.table() == truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": len(wallets)}
        for _ in range(4):
            again = deployment.backfill(refresh=True)
            assert (again.failures, again.trades_fetched) == ([], 0)
        assert max(segments_by_wallet(deployment).values()) <= MOST + 1
        assert deployment.table() == truth(world)
        assert deployment.reconcile("--verify")["counts"] == {"consistent": len(wallets)}


def test_a_store_of_the_older_version_alone_brings_everything_back(tmp_path: Path):
    with moved_in(tmp_path) as (world, served, deployment):
        before = deployment.table()
        for path in (tmp_path / "dagster").rglob("*.db*"):
            path.unlink()
        (tmp_path / "warehouse.duckdb").unlink()
        deployment.want(world.wallets())
        deployment.reconcile("--apply")
        done = deployment.backfill()
        assert (done.failures, done.failed_checks, done.errors) == ([], [], [])
        assert served.state.counts.trade_requests == 0
        assert deployment.table() == before
