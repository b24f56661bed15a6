"""What is no wallet is named, briefly, wherever it stands, and holds no wallet up."""

import json
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.automation.sensors import new_wallets
from polycopy_assets.demo.generate import generate
from polycopy_assets.record import attempts
from polycopy_assets.resources.chosen import store_resource, warehouse_resource
from polycopy_assets_tests.deployment import Deployed, Deployment, backfill_job, truth
from polycopy_assets_tests.of_trades import record_in
from polycopy_assets_tests.old_job import upper

RANGE = "dagster/asset_partition_range_"
LONG = "x" * 5_000


def stray(deployment: Deployment, *keys: str) -> None:
    with deployment.instance() as instance:
        instance.add_dynamic_partitions("wallets", list(keys))


def test_a_partition_that_is_no_wallet_is_named_by_every_command_and_holds_nobody_up(
    deployed: Deployed, capfd: pytest.CaptureFixture[str]
):
    world = generate(5, 6, most_trades=9)
    twin = upper(world.wallets()[0].lower())
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        stray(deployment, "foo", twin)
        for command in ("backfill", "status", "reconcile"):
            code, said = deployment.here(command, "--json")
            told = capfd.readouterr().err
            assert code == 0, told
            if command == "reconcile":
                assert json.loads(said)["counts"] == {"consistent": 6}
                named = {(item["ledger"], item["text"]) for item in json.loads(said)["refused"]}
                assert named == {("partitions", "foo"), ("partitions", twin)}
            else:
                assert "refused: 'foo' among the partitions is not a wallet" in told
                assert f"refused: '{twin}' among" in told
                assert json.loads(said)["remaining"] == json.loads(said)["failed"] == 0
    assert deployment.table() == truth(world)


def test_of_chosen_partitions_the_one_that_is_no_wallet_is_left_out(deployed: Deployed):
    world = generate(6, 3, most_trades=9)
    with deployed(world) as (deployment, _):
        stray(deployment, "foo")
        deployment.want(world.wallets())
        with deployment.instance() as instance:
            result = backfill_job(deployment.settings).execute_in_process(
                instance=instance,
                tags={f"{RANGE}start": "foo", f"{RANGE}end": world.wallets()[-1].lower()},
            )
            assert result.success
            assert record_in(instance).versions().keys() == {w.lower() for w in world.wallets()}
            assert attempts.failed(record_in(instance)) == []


def test_a_partition_that_is_no_wallet_is_named_in_the_tick_and_not_fetched(deployment: Deployment):
    stray(deployment, "foo")
    with (
        deployment.instance() as instance,
        dg.build_sensor_context(
            instance,
            resources={
                "warehouse": warehouse_resource(deployment.settings),
                "store": store_resource(deployment.settings),
            },
        ) as context,
    ):
        result = new_wallets(context)
    assert isinstance(result, dg.SensorResult)
    assert not result.run_requests
    assert "refused: 'foo' among the partitions is not a wallet" in str(result.skip_reason)


@pytest.mark.parametrize("command", ["backfill", "reconcile", "wallets"])
def test_however_much_is_no_wallet_few_lines_say_so(
    tmp_path: Path, deployment: Deployment, capfd: pytest.CaptureFixture[str], command: str
):
    deployment.warehouse.check_writable()
    deployment.execute(
        "INSERT INTO traders SELECT concat(@long, n) FROM range(5000) AS _(n)", long=LONG
    )
    (tmp_path / "many").write_text("".join(f"{LONG}{number}\n" for number in range(5000)))
    options = ("add", "-f", str(tmp_path / "many")) if command == "wallets" else ()
    code, _ = deployment.here(command, *options)
    lines = [x for x in capfd.readouterr().err.splitlines() if x.startswith("refused: ")]
    assert code == (2 if command == "wallets" else 0)
    assert len(lines) in {4, 11}
    assert lines[0].startswith("refused: 'xxx")
    assert max(map(len, lines)) < 200
    assert lines[-1] == f"refused: and {5000 - len(lines) + 1:,} more"
