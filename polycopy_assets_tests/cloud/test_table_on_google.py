"""What is called complete is in the BigQuery table, and asking for it costs nothing."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.identity import read_id
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets.warehouse.feed_table import Held
from polycopy_assets_tests.cloud.google import PROJECT, GoogleDeployment
from polycopy_assets_tests.deployment import new_trades, sample_api, truth
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.of_trades import manifest_name

Scene = tuple[World, GoogleDeployment, Served]


@pytest.fixture
def scene(tmp_path: Path, gcs: GCS, double: Double) -> Iterator[Scene]:
    world = generate(71, 5, whales=1, whale_trades=120, most_trades=20)
    with sample_api(world, lag_seconds=int(time.time()) - LAST - 700) as api:
        deployment = GoogleDeployment(tmp_path, api.url, gcs, double.url)
        deployment.want(world.wallets())
        deployment.backfill()
        api.state.counts.reset()
        yield world, deployment, api


def held(deployment: GoogleDeployment) -> Held:
    """What the table of the deployment holds."""
    labels = {"polycopy_asset": "trades"}
    name = deployment.name
    dataset = Dataset(deployment.bigquery, PROJECT, name, max_bytes_billed=10**10, labels=labels)
    return BigQueryWarehouse(dataset).table(TRADES).held()


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE {}trades", "DELETE FROM {}trades WHERE true", "TRUNCATE TABLE {}trades"],
)
def test_a_table_that_was_dropped_or_emptied_is_loaded_again(scene: Scene, statement: str):
    world, deployment, api = scene
    deployment.execute(statement)
    assert deployment.here("backfill")[0] == 0
    assert deployment.table() == truth(world)
    assert not api.state.counts.requests


def test_where_nothing_is_to_be_loaded_no_query_looks_for_rows_that_are_gone(
    scene: Scene, double: Double
):
    _, deployment, _ = scene
    before = len(double.done("query"))
    assert deployment.here("backfill")[0] == 0
    asked = [" ".join(job.sql.split()) for job in double.done("query")[before:]]
    assert [text.rpartition(" FROM ")[0].rpartition("SELECT ")[2] for text in asked] == [
        "wallet_address",  # `traders`
        "COUNT(*)",  # `table_rows` of the report
    ]


def test_a_table_that_lost_rows_is_loaded_again(scene: Scene):
    world, deployment, api = scene
    deployment.execute("DELETE FROM {}trades WHERE price > 0.9")
    assert deployment.table() != truth(world)
    assert deployment.here("backfill")[0] == 0
    assert deployment.table() == truth(world)
    assert not api.state.counts.requests


def test_a_stray_manifest_keeps_nothing_out_of_the_table(scene: Scene):
    """No batch behind it was ever believed to be loaded: every load failed, for ever."""
    world, deployment, api = scene
    stray = b'{"batch":1000000,"rows":0,"parts":[],"claims":[]}'
    deployment.store.create(manifest_name(1_000_000), stray)
    api.state.lag_seconds = 0
    world.add(new_trades(world.wallets()[0].lower(), LAST + 500, 7))
    assert deployment.here("backfill", "--refresh")[0] == 0
    assert deployment.here("backfill")[0] == 0
    assert deployment.table() == truth(world)
    assert held(deployment).batches.keys() == {1, 2}


def test_a_table_of_another_store_is_refused_and_one_from_before_is_taken_over(
    scene: Scene, tmp_path: Path, gcs: GCS, double: Double
):
    world, theirs, api = scene
    wallets = [wallet.lower() for wallet in world.wallets()]
    (tmp_path / "b").mkdir()
    deployment = GoogleDeployment(tmp_path / "b", api.url, gcs, double.url)
    deployment.want(wallets[:2])
    deployment.backfill()
    own = dict(deployment.environ)
    api.state.counts.reset()
    deployment.environ["POLYCOPY_WAREHOUSE"] = f"bigquery://{PROJECT}/{theirs.name}"
    for command in ("backfill", "status", "reconcile"):
        assert deployment.here(command)[0] == 2
    assert not api.state.counts.requests
    assert theirs.table() == truth(world)
    deployment.environ = own
    assert held(deployment).store == read_id(deployment.store)
    deployment.execute("UPDATE {}polycopy_batches SET store = NULL WHERE TRUE")
    assert deployment.here("backfill")[0] == 0
    assert held(deployment).store == read_id(deployment.store)
    deployment.environ["POLYCOPY_WAREHOUSE"] = f"bigquery://{PROJECT}/{theirs.name}"
    assert deployment.here("init", "--accept-table")[0] == 0
    assert not held(theirs).batches
    assert deployment.here("backfill")[0] == 0
    assert held(theirs).store == read_id(deployment.store)
    assert theirs.here("backfill")[0] == 2
    assert theirs.table() == truth(world)
