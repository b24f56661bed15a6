"""What is called complete is in the BigQuery table, and asking for it costs nothing."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.store.identity import read_id
from polycopy_assets.trades.batch import manifest_name
from polycopy_assets.warehouse.bigquery.load import BATCHES_LABEL, STORE_LABEL
from polycopy_assets_tests.cloud.google import PROJECT, GoogleDeployment
from polycopy_assets_tests.deployment import new_trades, sample_api, truth
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.fakes.gcs import GCS

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


def labels(deployment: GoogleDeployment, **changes: str | None) -> dict[str, str]:
    """The labels of `trades`, after `changes`."""
    table = deployment.bigquery.get_table(f"{deployment.name}.trades")
    if changes:
        table.labels = {**table.labels, **changes}
        table = deployment.bigquery.update_table(table, ["labels"])
    return dict(table.labels)


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
    deployment.execute("DELETE FROM {}trades WHERE price > 0.9")
    for _ in range(2):
        (check,) = deployment.backfill().failed_checks
        assert "something else has deleted rows" in check
    assert deployment.here("reconcile", "--apply")[0] == 0
    assert deployment.here("backfill")[0] == 0


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
    assert labels(deployment)[BATCHES_LABEL] == "2"


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
    assert labels(deployment)[STORE_LABEL] == read_id(deployment.store)
    labels(deployment, **{STORE_LABEL: None})
    assert deployment.here("backfill")[0] == 0
    assert labels(deployment)[STORE_LABEL] == read_id(deployment.store)
    deployment.environ["POLYCOPY_WAREHOUSE"] = f"bigquery://{PROJECT}/{theirs.name}"
    assert deployment.here("init", "--accept-table")[0] == 0
    assert BATCHES_LABEL not in labels(theirs)
    assert deployment.here("backfill")[0] == 0
    assert labels(theirs)[STORE_LABEL] == read_id(deployment.store)
    assert theirs.here("backfill")[0] == 2
    assert theirs.table() == truth(world)
