"""The demo invents trades: they never get into anything that somebody works with."""

import json
from pathlib import Path

import pytest

from polycopy_assets.record.partitions import register
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.of_trades import wallet_prefix

OTHER = "0x" + "a" * 40


def refused(deployment: Deployment, *words: str) -> None:
    done = deployment.polycopy("demo")
    assert (done.returncode, done.stdout) == (2, ""), done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert all(word in done.stderr for word in (*words, "run it in an empty directory"))


@pytest.mark.parametrize("where", ["registered", "in the table traders", "in the store"])
def test_a_deployment_that_knows_another_wallet_is_left_alone(
    tmp_path: Path, deployment: Deployment, where: str
):
    if where == "registered":
        with deployment.instance() as instance:
            register(instance, [OTHER])
    elif where == "in the table traders":
        deployment.warehouse.add_traders([OTHER])
    else:
        deployment.store.create(f"{wallet_prefix(OTHER)}0000000000-0000000009.jsonl.gz", b"x")
    before = sorted(path.name for path in (tmp_path / "store").rglob("*"))
    refused(deployment, f"{OTHER}', which is {where}")
    assert sorted(path.name for path in (tmp_path / "store").rglob("*")) == before
    assert deployment.feed_table.count_rows() == 0
    assert len(deployment.warehouse.traders()) == (where == "in the table traders")
    with deployment.instance() as instance:
        registered = instance.get_dynamic_partitions("wallets")
    assert registered == [OTHER] * (where == "registered")


def test_another_wallet_that_was_added_to_the_demo_makes_it_somebodys(deployment: Deployment):
    assert deployment.polycopy("demo").returncode == 0
    deployment.execute("UPDATE trades SET wallet_address = @other WHERE sequence = 0", other=OTHER)
    refused(deployment, "in the table trades")
    assert deployment.polycopy("wallets", "add", OTHER).returncode == 0
    refused(deployment, "registered")
    assert json.loads(deployment.polycopy("status", "--json").stdout)["total"] == 25


@pytest.mark.parametrize("table", ["warehouse.duckdb", "bigquery://a-project/a_dataset"])
def test_nothing_is_written_into_the_cloud(tmp_path: Path, table: str):
    deployment = Deployment(
        tmp_path, "http://127.0.0.1:9", POLYCOPY_STORE="gs://a-bucket", POLYCOPY_WAREHOUSE=table
    )
    place = table if "://" in table else "gs://a-bucket"
    refused(deployment, f"does not load its invented trades into {place}")
    assert not (tmp_path / "dagster").exists()
