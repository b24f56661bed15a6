"""What stands in the way of loading beside a fetch costs nothing, and is reported after it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from polycopy_assets.batches.manifests import read_batches
from polycopy_assets.demo.generate import generate
from polycopy_assets.fetch import compaction
from polycopy_assets.guard.exclusive import WAREHOUSE
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import this_process
from polycopy_assets.guard.ours import Job
from polycopy_assets.trades.batch import Manifest
from polycopy_assets_tests.crash.load_beside import (
    SETTINGS,
    SLOW,
    WORLD,
    S,
    batches,
    ended,
    fetching,
    finish,
    runs,
    started,
    until,
)
from polycopy_assets_tests.deployment import Deployed, new_trades, truth
from polycopy_assets_tests.of_trades import MANIFESTS

FAULTS = {"of ours": "StoreError", "of anybody": "ZeroDivisionError"}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_thread_that_fails_costs_nothing(deployed: Deployed, fault: str):
    fails = f"""
def fails(*args, **options):
    Path("began").touch()
    raise {FAULTS[fault]}("no luck")
beside.combine_new = fails
"""
    with fetching(deployed, fails) as (deployment, served, process):
        served.state.latency = 0.0
        code, out, err = ended(process)
        assert code == 0, err
        assert json.loads(out)["errors"] == []
        assert "Traceback" not in err
        assert "no luck" not in err
        assert len(batches(deployment)) == 1
        finish(deployment, served)


@pytest.mark.timeout(300)
def test_after_an_outage_the_thread_loads_again(deployed: Deployed):
    outage = """
def outage(*args, **options):
    beside.combine_new = combine_noted
    Path("failed").touch()
    raise StoreError("an outage")
beside.combine_new = outage
"""
    there = {"until_there": "loaded", "hold": True}
    with fetching(deployed, outage, **there) as (deployment, served, process):
        assert (deployment.root / "failed").exists()
        assert runs(deployment, Job.FETCH, S.STARTED)
        (deployment.root / "hold").unlink()
        served.state.latency = 0.0
        code, _, err = ended(process)
        assert code == 0, err
        finish(deployment, served)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broken", ["its manifest", "a part"])
def test_a_broken_batch_is_left_to_the_load_that_reports_it(deployed: Deployed, broken: str):
    with deployed(WORLD, **SETTINGS) as (deployment, served):
        deployment.want(WORLD.wallets())
        served.state.latency = SLOW
        with started(deployment, "beside.load = die") as process:
            ended(process)
        (name,) = [item.name for item in deployment.store.list(MANIFESTS)]
        if broken == "a part":
            manifest = msgspec.json.decode(deployment.store.read(name), type=Manifest)
            name = manifest.parts[0].name
        damaged = Path(deployment.settings.store) / name
        damaged.write_bytes(damaged.read_bytes()[:-1])
        (deployment.root / "began").unlink()
        served.state.latency = 0.1
        with started(deployment, "") as process:
            code, _, err = ended(process)
        assert code == 0, err
        assert not (deployment.root / "began").exists()
        (load,) = runs(deployment, Job.LOAD, S.SUCCESS)
        with deployment.instance() as instance:
            said = [entry.user_message for entry in instance.all_logs(load.dagster_run.run_id)]
        assert any("00000001.json is set aside" in line for line in said)
        finish(deployment, served)


@pytest.mark.timeout(300)
def test_a_table_that_cannot_be_written_is_reported_once_by_the_load(deployed: Deployed):
    full = """
from polycopy_assets.errors import WarehouseError
def full(*args):
    raise WarehouseError("no space left for the table")
DuckDBTable.load = full
"""
    with fetching(deployed, full) as (deployment, served, process):
        until(lambda: batches(deployment), process)
        served.state.latency = 0.0
        code, out, err = ended(process)
        assert code == 1
        (error,) = json.loads(out)["errors"]
        assert "no space left for the table" in error
        assert "Traceback" not in err
        assert len(runs(deployment, Job.FETCH, S.SUCCESS)) == 1
        finish(deployment, served)


HOLDER = """
import duckdb, sys, time
while True:
    try:
        db = duckdb.connect(sys.argv[1])
        break
    except duckdb.IOException:
        time.sleep(0.01)
print("open", flush=True)
time.sleep(600)
"""
IMPATIENT = """
from polycopy_assets.assets import plainly
open_file = file.DuckDBFile.__init__
def impatient(self, *args, **options):
    open_file(self, *args, **{**options, "lock_wait": 0.5})
file.DuckDBFile.__init__, plainly.TRIES_AGAIN = impatient, 0
"""


@pytest.mark.timeout(300)
def test_a_table_that_another_process_has_open_is_loaded_later(deployed: Deployed):
    with fetching(deployed, IMPATIENT) as (deployment, served, process):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, deployment.settings.warehouse],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert holder.stdout
            assert holder.stdout.readline() == "open\n"
            served.state.latency = 0.0
            code, out, err = ended(process)
        finally:
            holder.kill()
            holder.communicate()
        assert code == 1, err
        report = json.loads(out)
        assert report["table_rows"] is None
        assert len(report["errors"]) == 2
        assert f"process {holder.pid}" in report["errors"][0]
        assert report["complete"] == len(WORLD.wallets())
        finish(deployment, served)


@pytest.mark.timeout(300)
def test_while_another_process_combines_or_loads_the_thread_does_nothing(deployed: Deployed):
    with deployed(WORLD, **SETTINGS) as (deployment, served):
        deployment.want(WORLD.wallets())
        with deployment.instance() as instance:
            lock = instance_locks(instance).try_acquire(WAREHOUSE, this_process("test"))
        assert lock is not None
        with started(deployment, "") as process:
            until(lambda: runs(deployment, Job.LOAD, S.STARTED), process)
            assert not batches(deployment)
            assert not (deployment.root / "began").exists()
            lock.release()
            code, out, err = ended(process)
        assert code == 0, err
        assert json.loads(out)["errors"] == []
        assert len(batches(deployment)) == 1
        finish(deployment, served)


VANISHING = """
from polycopy_assets.batches import combine
from polycopy_assets.store.local import LocalStore
DuckDBTable.worth_loading = 10
real_parts, real_delete = combine.write_parts, LocalStore.delete

def write_parts(*args):
    end = time.monotonic() + 60
    while not Path("removed").exists() and time.monotonic() < end:
        time.sleep(0.05)
    return real_parts(*args)

def delete(self, name):
    real_delete(self, name)
    if name.startswith("trades/"):
        Path("removed").touch()

combine.write_parts, LocalStore.delete = write_parts, delete
"""


@pytest.mark.timeout(300)
def test_segments_that_are_united_while_the_thread_combines_them_come_with_the_next_load(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = generate(101, 14, whales=10, whale_trades=1_500, most_trades=40)
    small = {"POLYCOPY_SEGMENT_BYTES": "3000", "POLYCOPY_CONCURRENCY": "2"}
    with deployed(world, lag_seconds=100_000, **small) as (deployment, served):
        deployment.want(world.wallets())
        with monkeypatch.context() as patch, deployment.instance() as instance:
            patch.setattr(compaction, "unions", lambda segments: [])
            deployment.fetch(instance)
        for wallet in world.wallets():
            world.add(new_trades(wallet.lower(), int(time.time()) - 50_000, 30))
        served.state.lag_seconds, served.state.latency = 5, SLOW
        with started(deployment, VANISHING, "--refresh") as process:
            until((deployment.root / "began").exists, process)
            code, out, err = ended(process)
        assert code == 0, err
        assert (deployment.root / "removed").exists()
        report = json.loads(out)
        assert (report["errors"], report["failed_checks"]) == ([], [])
        assert deployment.table() == truth(world)
        assert sum(batch.rows for batch in read_batches(deployment.store).sound) == (
            truth(world).total()
        )
        assert deployment.reconcile()["left"].keys() == {"consistent"}
