"""The sensor `new_wallets`: whom it asks for again, what spaces it out, what it gets to read."""

from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import msgspec
import pytest

from polycopy_assets.automation.sensors import NAMED, Seen, new_wallets
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.record import attempts
from polycopy_assets.record.attempts import RETRY_AFTER
from polycopy_assets.record.partitions import registered
from polycopy_assets.resources.chosen import store_resource, warehouse_resource
from polycopy_assets_tests.days import DAY, HOUR, Days, days, refresh_asked, skipped, ticked
from polycopy_assets_tests.deployment import Deployment, sample_api, truth
from polycopy_assets_tests.of_trades import record_in


def fetched(simulated: Days, **config: Any) -> dg.ExecuteInProcessResult:
    """The job `fetch`, as somebody launches it."""
    job = build(simulated.deployment.settings).resolve_job_def("fetch")
    return job.execute_in_process(
        instance=simulated.instance,
        run_config={"ops": {"wallet_trades": {"config": config}}},
        raise_on_error=False,
    )


def refreshed(simulated: Days) -> None:
    """What the schedule asks for, done."""
    request = refresh_asked(simulated.instance, simulated.deployment)
    assert isinstance(request, dg.RunRequest)
    simulated.follow("fetch", dg.SensorResult(run_requests=[request]))


def test_a_complete_wallet_whose_refresh_failed_is_tried_again_as_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(71, 4, most_trades=20)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with (
        sample_api(world, lag_seconds=3000) as served,
        days(tmp_path, served, monkeypatch) as simulated,
    ):
        simulated.want(wallets)
        simulated.tick()
        served.state.lag_seconds = 0
        served.state.faults.set_wallets({wallets[0]: "404"})
        assert not fetched(simulated, select="all").success
        served.state.faults.set_wallets({})
        served.state.counts.reset()
        simulated.tick()
        assert not served.state.counts.requests, "it is not due yet"
        simulated.go_on(2 * RETRY_AFTER[0], every=RETRY_AFTER[0])
        assert set(served.state.counts.requests) == {wallets[0]}
        assert attempts.failed(record_in(simulated.instance)) == []


def test_a_daily_refresh_leaves_those_alone_that_failed_until_they_are_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(72, 4, most_trades=20)
    wallets = [wallet.lower() for wallet in world.wallets()]
    bad = wallets[1]
    with (
        sample_api(world, lag_seconds=4000) as served,
        days(tmp_path, served, monkeypatch) as simulated,
    ):
        served.state.faults.set_wallets({bad: "404"})
        simulated.want(wallets)
        simulated.tick()
        asked = served.state.counts.requests
        assert asked[bad] == 1
        for lag, due in ((3000, False), (2000, True)):
            served.state.lag_seconds = lag
            simulated.now += 2 * RETRY_AFTER[0] if due else 0
            before = asked.copy()
            refreshed(simulated)
            assert {wallet for wallet in wallets if asked[wallet] > before[wallet]} == (
                {*wallets} if due else {*wallets} - {bad}
            )
        simulated.go_on(9 * DAY, every=12 * HOUR)
        (given_up,) = attempts.latest(record_in(simulated.instance), wallets).values()
        assert given_up.due is None
        served.state.lag_seconds = 0
        before = asked.copy()
        refreshed(simulated)
        assert asked[bad] == before[bad] == len(RETRY_AFTER) + 1
        assert attempts.latest(record_in(simulated.instance), [bad])[bad] == given_up


def test_what_others_start_wrongly_does_not_keep_new_wallets_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(73, 2, most_trades=5)
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.want([wallet.lower() for wallet in world.wallets()])
        for _ in range(5):
            assert not fetched(simulated, wallets=["0xnope"]).success
        simulated.tick()
        assert simulated.runs["fetch"] == 1
        assert simulated.deployment.table() == truth(world)


@pytest.mark.parametrize("cursor", ["garbage", '{"state": 3}', "null", "[]", '{"read_at": 1e999}'])
def test_a_cursor_that_nobody_can_read_is_forgotten(deployment: Deployment, cursor: str):
    world = generate(74, 1)
    deployment.want(world.wallets())
    with deployment.instance() as instance:
        result = ticked(new_wallets, instance, deployment, cursor)
    assert len(result.run_requests or ()) == 1
    assert msgspec.json.decode(result.cursor or "", type=Seen).read_at > 0


def test_what_is_registered_is_fetched_though_the_table_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world = generate(75, 2, most_trades=5)
    with sample_api(world) as served, days(tmp_path, served, monkeypatch) as simulated:
        simulated.deployment.want([wallet.lower() for wallet in world.wallets()])
        Path(simulated.deployment.settings.warehouse).write_bytes(b"this is no database")
        for _ in range(3):
            result = ticked(new_wallets, simulated.instance, simulated.deployment, simulated.cursor)
            simulated.cursor = result.cursor
            simulated.follow("fetch", result)
        assert simulated.runs["fetch"] == 1
        assert len(record_in(simulated.instance).versions()) == 2
        for told in simulated.told[-2:]:
            assert "nothing to fetch; `traders` was not read: " in told


def test_a_table_full_of_something_else_is_told_in_few_lines(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
):
    lines: list[str] = []
    with duckdb.connect(deployment.settings.warehouse) as db:
        db.execute("CREATE TABLE traders AS SELECT repeat('x', 5000000) AS wallet_address")
        db.execute("INSERT INTO traders SELECT 'zz' || i FROM range(50000) t(i)")
    resources = {
        "warehouse": warehouse_resource(deployment.settings),
        "store": store_resource(deployment.settings),
    }
    with (
        deployment.instance() as instance,
        dg.build_sensor_context(instance, resources=resources) as context,
    ):
        monkeypatch.setattr(context.log, "warning", lines.append)
        result = new_wallets(context)
        assert registered(instance) == []
    assert isinstance(result, dg.SensorResult)
    assert len(lines) == NAMED + 1
    assert "49,991 more" in lines[-1]
    assert "50,001 rows" in skipped(result)
    assert "'zz7'" in skipped(result)
    for text in (*lines, skipped(result), result.cursor or ""):
        assert len(text) < 100 * NAMED
