"""Without a database: each command rebuilds the record from the store, and repeats nothing."""

import gzip
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.record import attempts, counts
from polycopy_assets.record.partitions import registered_at
from polycopy_assets.record.snapshot import KEPT
from polycopy_assets_tests.deployment import Deployed, Deployment, new_trades, records_of, truth
from polycopy_assets_tests.of_trades import KEYS, record_in

DAY, HOUR = 86_400, 3_600
WALLETS = 9


@contextmanager
def nightly(deployed: Deployed, world: World) -> Iterator[tuple[Deployment, Served]]:
    """A deployment without a database; its feed lags by a day at first."""
    with deployed(world, lag_seconds=DAY, POLYCOPY_INSTANCE="ephemeral") as found:
        yield found


def added(deployment: Deployment, wallets: list[str]) -> None:
    assert deployment.here("wallets", "add", *wallets)[0] == 0


def backfilled(deployment: Deployment, *options: str, code: int = 0) -> dict[str, Any]:
    """What a backfill reports; `said` is its standard error."""
    with redirect_stderr(io.StringIO()) as said:
        ended, found = deployment.here("backfill", "--json", *options)
    assert ended == code, said.getvalue()
    return {**json.loads(found), "said": said.getvalue()}


def snapshots(deployment: Deployment) -> list[str]:
    return [item.name for item in deployment.store.list(TRADES.names.snapshots)]


def news(world: World, served: Served, wallet: str, count: int) -> None:
    """The wallet trades, and an hour passes."""
    world.add(new_trades(wallet, int(time.time()) - served.state.lag_seconds + HOUR // 2, count))
    served.state.lag_seconds -= HOUR
    served.state.counts.reset()


def test_a_nightly_job_goes_on_where_the_last_one_ended(deployed: Deployed, tmp_path: Path):
    world = generate(5, WALLETS, whales=1, whale_trades=1_500)
    wallets = world.wallets()
    with nightly(deployed, world) as (deployment, served):
        added(deployment, wallets[:6])
        first = backfilled(deployment, "--refresh")
        assert (first["complete"], first["wallets"]) == (6, 6)
        assert deployment.table() == truth(world, wallets[:6])

        for night, wallet in enumerate(wallets[:2]):
            served.state.counts.reset()
            before = snapshots(deployment)
            again = backfilled(deployment)
            assert served.state.counts.trade_requests == again["requests"] == 0
            assert "6 wallets from record/snapshots/" in again["said"]
            assert ", 0 from what is stored" in again["said"]
            assert snapshots(deployment) == before, "nothing has changed"

            news(world, served, wallet, 5 + night)
            refreshed = backfilled(deployment, "--refresh")
            assert refreshed["trades_fetched"] == 5 + night
            assert deployment.table() == truth(world, wallets[:6])
            assert len(snapshots(deployment)) <= KEPT

        added(deployment, wallets[6:])
        served.state.counts.reset()
        last = backfilled(deployment)
        assert last["complete"] == WALLETS
        assert set(served.state.counts.requests) <= {wallet.lower() for wallet in wallets[6:]}
        assert deployment.table() == truth(world, wallets)
        status = json.loads(deployment.here("status", "--json")[1])
        assert (status["complete"], status["remaining"], status["failed"]) == (WALLETS, 0, 0)
        reconciled = deployment.reconcile()
        assert reconciled["counts"] == {"consistent": WALLETS}
        assert not (tmp_path / "dagster").exists()


def filled(deployment: Deployment, world: World) -> None:
    added(deployment, world.wallets())
    assert backfilled(deployment)["complete"] == len(world.wallets())


def test_without_a_snapshot_the_record_is_rebuilt_from_segments(deployed: Deployed):
    world = generate(6, WALLETS, whales=1, whale_trades=1_500)
    with nightly(deployed, world) as (deployment, served):
        filled(deployment, world)
        news(world, served, world.wallets()[0], 7)
        backfilled(deployment, "--refresh")
        for name in snapshots(deployment):
            deployment.store.delete(name)
        served.state.counts.reset()
        found = backfilled(deployment)
        assert served.state.counts.trade_requests == found["requests"] == 0
        assert f"0 wallets from no snapshot, {WALLETS} from what is stored" in found["said"]
        assert found["complete"] == WALLETS
        assert len(snapshots(deployment)) == 1
        assert deployment.table() == truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": WALLETS}
        news(world, served, world.wallets()[1], 3)
        assert backfilled(deployment, "--refresh")["trades_fetched"] == 3
        assert deployment.table() == truth(world)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def a_line_less(data: bytes) -> bytes:
    return gzip.compress(b"".join(gzip.decompress(data).splitlines(keepends=True)[:-1]))


def a_gap(data: bytes) -> bytes:
    """A wallet's record names its first segment no more."""
    return gzip.compress(re.sub(rb'("2 [0-9]+) [^ ,"]+', rb"\1", gzip.decompress(data), count=1))


DAMAGE = [cut, a_line_less, a_gap, lambda data: b"", lambda data: b"no snapshot"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_snapshot_is_one_line_and_costs_no_request(
    deployed: Deployed, damage: Callable[[bytes], bytes]
):
    world = generate(7, WALLETS, whales=1, whale_trades=1_500)
    with nightly(deployed, world) as (deployment, served):
        filled(deployment, world)
        newest = snapshots(deployment)[-1]
        data = deployment.store.read(newest)
        for name in snapshots(deployment):
            deployment.store.delete(name)
        deployment.store.create(newest, damage(data))
        served.state.counts.reset()
        found = backfilled(deployment)
        assert served.state.counts.trade_requests == found["requests"] == 0
        told = [line for line in found["said"].splitlines() if "snapshot" in line]
        assert len(told) == 2, found["said"]
        assert "is damaged" in told[0]
        assert f"{WALLETS} from what is stored" in told[1]
        assert [item.name for item in deployment.store.list("quarantine/record/")]
        assert deployment.table() == truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": WALLETS}


def test_an_older_snapshot_does_not_count_for_what_the_store_has_since(deployed: Deployed):
    """Also where the store has united the segments that it names, or they were fetched again."""
    world = generate(8, WALLETS, whales=1, whale_trades=1_500)
    wallets = world.wallets()
    with nightly(deployed, world) as (deployment, served):
        filled(deployment, world)
        old = snapshots(deployment)[-1]
        data = deployment.store.read(old)
        with deployment.instance() as instance:
            for _ in range(18):  # more segments than a wallet keeps: they are united
                news(world, served, wallets[0], 4)
                assert not deployment.fetch(instance, select="all").failures
            report = deployment.fetch(instance, select="all", wallets=[wallets[1]], mode="full")
            assert not report.failures
            deployment.load(instance)
        for name in snapshots(deployment):
            deployment.store.delete(name)
        deployment.store.create(old, data)
        served.state.counts.reset()
        found = backfilled(deployment)
        assert served.state.counts.trade_requests == found["requests"] == 0
        assert found["complete"] == WALLETS
        assert deployment.table() == truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": WALLETS}


def test_what_the_store_has_lost_is_fetched_again_and_nothing_else(deployed: Deployed):
    world = generate(9, WALLETS, whales=1, whale_trades=1_500)
    with nightly(deployed, world) as (deployment, served):
        filled(deployment, world)
        lost = world.wallets()[2].lower()
        for item in list(deployment.store.list(f"trades/{lost}/")):
            deployment.store.delete(item.name)
        served.state.counts.reset()
        found = backfilled(deployment)
        assert "1 with lost data" in found["said"]
        assert set(served.state.counts.requests) == {lost}
        assert deployment.table() == truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": WALLETS}


def test_what_only_the_record_knew_is_in_the_snapshot(deployed: Deployed):
    world = generate(10, WALLETS)
    wallets = [wallet.lower() for wallet in world.wallets()]
    bad = wallets[0]
    faults = Faults()
    faults.set_wallets({bad: "404"})
    with deployed(world, faults=faults, POLYCOPY_INSTANCE="ephemeral") as (deployment, _):
        added(deployment, wallets)
        backfilled(deployment, code=1)
        ended, _ = deployment.here("reconcile", "--source", "--json")
        assert ended == 0
        with deployment.instance() as instance:
            first = attempts.latest(record_in(instance), wallets)
            counted, at = counts.latest(record_in(instance)), registered_at(instance)
            loaded = instance.get_latest_materialization_event(KEYS.table)
            kept = records_of(instance, wallets)
        assert set(first) == {bad}
        assert set(counted) == set(wallets[1:])
        assert loaded is not None
        assert all(item.horizon for item in kept)
        backfilled(deployment, code=1)
        with deployment.instance() as instance:
            assert (
                attempts.latest(record_in(instance), wallets)[bad].number == first[bad].number + 1
            )
            assert counts.latest(record_in(instance)) == counted
            assert registered_at(instance) == pytest.approx(at)
        assert json.loads(deployment.here("status", "--json")[1])["failed"] == 1


def test_nothing_is_changed_by_commands_that_look(deployed: Deployed, tmp_path: Path):
    world = generate(11, WALLETS)
    with nightly(deployed, world) as (deployment, _):
        filled(deployment, world)
        newest = snapshots(deployment)[-1]
        (tmp_path / "store" / newest).write_bytes(b"damaged")
        before = {path: path.read_bytes() for path in files(tmp_path / "store")}
        assert json.loads(deployment.here("status", "--json")[1])["complete"] == WALLETS
        assert deployment.reconcile()["counts"] == {"consistent": WALLETS}
        assert {path: path.read_bytes() for path in files(tmp_path / "store")} == before


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_the_table_tells_that_a_store_is_the_wrong_one(deployed: Deployed, tmp_path: Path):
    world = generate(12, 3)
    with nightly(deployed, world) as (deployment, served):
        filled(deployment, world)
        served.state.counts.reset()
        elsewhere = {"POLYCOPY_STORE": str(tmp_path / "mistyped")}
        ended = deployment.polycopy("backfill", environ=elsewhere)
        assert ended.returncode == 2
        assert "is not the table of this store" in ended.stderr.splitlines()[-1]
        assert not (tmp_path / "mistyped").exists()
        assert not served.state.counts.trade_requests


def test_dagsters_own_processes_are_refused_in_one_line(deployment: Deployment):
    environ = {**deployment.process_environ(), "POLYCOPY_INSTANCE": "ephemeral"}
    ended = subprocess.run(
        [sys.executable, "-c", "import polycopy_assets.definitions"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode
    assert "POLYCOPY_INSTANCE=ephemeral is for the command" in ended.stderr.splitlines()[-1]


def test_the_demo_and_the_other_commands_work_without_a_database(tmp_path: Path):
    """The demo twice: the second time it fetches nothing."""
    deployment = Deployment(tmp_path, "http://127.0.0.1:9", POLYCOPY_INSTANCE="ephemeral")
    assert deployment.here("demo")[0] == 0
    ended, said = deployment.here("demo")
    assert ended == 0
    assert "nothing was fetched again" in said
    assert deployment.here("init") == (0, "")
    assert deployment.here("maintain")[0] == 0
    assert not (tmp_path / "dagster").exists()
