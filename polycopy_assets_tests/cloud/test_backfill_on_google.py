"""The whole backfill on Google Cloud's stand-ins, by the command and by Dagster's own."""

import json
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.cloud.google import GoogleDeployment
from polycopy_assets_tests.deployment import sample_api, truth
from polycopy_assets_tests.fakes.gcs import GCS


@pytest.fixture
def stand_ins(files: GCS, emulator: str) -> tuple[GCS, str]:
    return files, emulator


def test_a_hundred_wallets_end_in_bigquery_and_a_repeat_loads_nothing(
    tmp_path: Path, stand_ins: tuple[GCS, str]
):
    world = generate(31, 100, whales=2, whale_trades=2500)
    with sample_api(world) as served:
        deployment = GoogleDeployment(tmp_path, served.url, *stand_ins)
        (tmp_path / "wallets.txt").write_text("\n".join(world.wallets()))
        assert deployment.polycopy("wallets", "add", "-f", "wallets.txt").returncode == 0
        done = deployment.polycopy("backfill", "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        again = deployment.polycopy("backfill", "--json")
        assert again.returncode == 0, again.stderr
        status = json.loads(deployment.polycopy("status", "--json").stdout)
    rows = truth(world).total()
    assert deployment.table() == truth(world)
    assert (report["complete"], report["failed"], report["table_rows"]) == (100, 0, rows)
    assert json.loads(again.stdout)["requests"] == 0
    assert (status["complete"], status["trades"], status["table_rows"]) == (100, rows, rows)
    tables = {table.table_id for table in deployment.bigquery.list_tables(deployment.name)}
    assert tables == {"traders", "trades"}, "a staging table was left behind"
