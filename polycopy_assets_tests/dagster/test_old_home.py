"""What an older version has left opens, heals, and goes on, without one request for what it has."""

import gzip
import signal
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from polycopy_assets_tests.deployment import Deployment, sample_api, truth
from polycopy_assets_tests.old_home import odd_wallets, old_world, unpack

pytestmark = pytest.mark.files


def test_a_deployment_of_an_older_version_heals_goes_on_and_asks_for_nothing_again(tmp_path: Path):
    world = old_world()
    with sample_api(world) as served:
        deployment = unpack(tmp_path, served.url)
        held = deployment.table()
        assert held.total() > 0
        ids = _ids(deployment)
        odd = set(truth(world, list(odd_wallets(world))))
        assert not odd & held.keys(), "the older version has combined these after all"
        report = deployment.backfill()
        assert (report.failures, report.failed_checks, report.errors) == ([], [], [])
        assert (report.requests, served.state.counts.trade_requests) == (0, 0)
        assert deployment.table() == truth(world)
        assert ids.items() <= _ids(deployment).items(), "an id has changed"
        (lacking,) = deployment.rows(
            "SELECT count(*) FROM {}trades WHERE sequence IS NULL OR outcome_index IS NULL"
            " OR event_slug IS NULL OR notional_usdc IS NULL"
        )
        assert lacking == (0,)
        assert deployment.reconcile()["counts"] == {"consistent": len(world.wallets())}
        refreshed = deployment.backfill(refresh=True)
        assert (refreshed.failures, refreshed.failed_checks) == ([], [])
        assert served.state.counts.rows.total() == 0, "trades were served a second time"
    assert deployment.table() == truth(world)


def _ids(deployment: Deployment) -> dict[tuple[str, str], tuple[Any, ...]]:
    rows = deployment.rows(
        "SELECT wallet_address, id, timestamp, tx_hash, token_id, side, price, shares_normalized"
        " FROM {}trades"
    )
    return {(row[0], row[1]): row[2:] for row in rows}


KILLED = {
    "before the first new batch is committed": """
        from polycopy_assets.batches import combine
        combine.claimed_intervals = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    """,
    "between combining and loading": """
        from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable
        DuckDBTable.load = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    """,
    "while the table is loaded": """
        from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable
        sql = DuckDBTable._sql
        def killing(self, name):
            if name == "record_batch":
                os.kill(os.getpid(), signal.SIGKILL)
            return sql(self, name)
        DuckDBTable._sql = killing
    """,
}


@pytest.mark.parametrize("moment", KILLED)
def test_an_upgrade_that_is_killed_goes_on_where_it_was(tmp_path: Path, moment: str):
    world = old_world()
    first = "import os, signal\n" + dedent(KILLED[moment])
    with sample_api(world) as served:
        deployment = unpack(tmp_path, served.url)
        killed = deployment.polycopy("backfill", first=first)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert deployment.polycopy("backfill").returncode == 0
        assert served.state.counts.trade_requests == 0
    assert deployment.table() == truth(world)
    assert deployment.rows("SELECT count(*) FROM {}trades WHERE sequence IS NULL") == [(0,)]
    assert deployment.reconcile()["counts"] == {"consistent": len(world.wallets())}


def test_the_archive_holds_the_odd_rows_that_it_is_about(tmp_path: Path):
    world = old_world()
    deployment = unpack(tmp_path, "http://127.0.0.1:9")
    for wallet, kind in odd_wallets(world).items():
        (name, *_) = [
            item.name
            for item in deployment.store.list(f"trades/{wallet.lower()}/")
            if gzip.decompress(deployment.store.read(item.name))
        ]
        lines = gzip.decompress(deployment.store.read(name))
        sign = {"huge_number": b"1e400", "other_names": b"0xfeed", "twice_key": b'"timestamp":1,'}
        assert sign[kind] in lines
