"""Without a database: killed anywhere, or two at once, nothing is asked twice or lost."""

import json
import subprocess
import threading
import time
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import LockLost
from polycopy_assets.guard import lease
from polycopy_assets.guard.lease import LEASES, take_lease
from polycopy_assets.guard.lock import this_process
from polycopy_assets.resources.chosen import open_warehouse
from polycopy_assets_tests.crash.killed import killed
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.of_trades import Directory

WALLETS = 8

BEFORE_THE_SNAPSHOT = """
from polycopy_assets.record import snapshot
snapshot.write = die
"""
WITHIN_THE_SNAPSHOT = """
from polycopy_assets.resources.chosen import open_warehouse
from polycopy_assets.store.local import LocalStore
link = LocalStore._link
def dies(self, incoming, final, name):
    if name.startswith("record/snapshots/"):
        die()
    return link(self, incoming, final, name)
LocalStore._link = dies
"""
AFTER_THE_SNAPSHOT = """
from polycopy_assets.record import snapshot
write = snapshot.write
def wrote(*args):
    write(*args)
    die()
snapshot.write = wrote
"""
WHILE_IT_RESTORES = """
from polycopy_assets.reconcile import restore
restore._notes = die
"""
WITH_THE_LOCK = """
from polycopy_assets.guard import lease
lease.Lease.__init__ = die
"""
WITHIN_A_FETCH = """
from polycopy_assets.assets.step_record import StepRecord
flush, times = StepRecord.flush, []
def flushed(self):
    flush(self)
    times.append(1)
    if len(times) == 1:
        die()
StepRecord.flush = flushed
"""
BEFORE_A_RECORD = """
from polycopy_assets.assets.step_record import StepRecord
StepRecord.flush = die
"""
COMBINED_AND_NOT_LOADED = """
from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable
DuckDBTable.load = die
"""
PLACES = {
    "before the snapshot": BEFORE_THE_SNAPSHOT,
    "within the snapshot": WITHIN_THE_SNAPSHOT,
    "after the snapshot": AFTER_THE_SNAPSHOT,
    "while it restores": WHILE_IT_RESTORES,
    "with the lock": WITH_THE_LOCK,
    "within a fetch": WITHIN_A_FETCH,
    "before a record": BEFORE_A_RECORD,
    "combined and not loaded": COMBINED_AND_NOT_LOADED,
}


def wanted(deployment: Deployment, wallets: list[str]) -> None:
    open_warehouse(deployment.settings, "traders").add_traders([w.lower() for w in wallets])


@pytest.mark.parametrize("place", PLACES)
def test_a_command_is_killed(deployed: Deployed, place: str):
    world = generate(21, WALLETS, whales=1, whale_trades=1_500)
    with deployed(world, POLYCOPY_INSTANCE="ephemeral") as (deployment, served):
        wanted(deployment, world.wallets()[:4])
        assert deployment.here("backfill")[0] == 0
        wanted(deployment, world.wallets()[4:])
        served.state.counts.reset()
        killed(deployment, PLACES[place], "backfill")
        ended, said = deployment.here("backfill", "--json")
        assert ended == 0
        found = json.loads(said)
        assert (found["complete"], found["failed"]) == (WALLETS, 0)
        assert deployment.table() == truth(world)
        rows = served.state.counts.rows
        assert rows == {w.lower(): len(world.truth(w)) for w in world.wallets()[4:]}, "no redos"
        assert deployment.reconcile()["counts"] == {"consistent": WALLETS}


def test_two_at_once_wait_for_each_other(deployed: Deployed):
    world = generate(22, WALLETS, whales=1, whale_trades=1_500)
    with deployed(world, POLYCOPY_INSTANCE="ephemeral") as (deployment, served):
        wanted(deployment, world.wallets())
        served.state.latency = 0.05
        both: list[subprocess.CompletedProcess[str]] = []
        threads = [
            threading.Thread(target=lambda: both.append(deployment.polycopy("backfill", "--json")))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [each.returncode for each in both] == [0, 0], [each.stderr for each in both]
        assert any("which works on this store" in each.stderr for each in both)
        fetched = [json.loads(each.stdout)["trades_fetched"] for each in both]
        assert sorted(fetched) == [0, world.count()]
        assert deployment.table() == truth(world)
        assert served.state.counts.rows.total() == world.count(), "no redos"
        assert deployment.reconcile()["counts"] == {"consistent": WALLETS}


def test_a_process_that_lost_the_lock_stops_before_its_next_step(
    deployed: Deployed, tmp_path: Path
):
    """It was frozen on another host, for all that anybody could tell, and another one took over."""
    world = generate(23, WALLETS, whales=1, whale_trades=1_500)
    with deployed(world, POLYCOPY_INSTANCE="ephemeral") as (deployment, _):
        wanted(deployment, world.wallets())
        stolen = f"""
from pathlib import Path
from polycopy_assets.guard import lease
lease.CONFIRM_SECONDS = 0.2
from polycopy_assets.fetch.one_wallet import WalletFetch
from polycopy_assets.guard.lock import this_process
from polycopy_assets.resources.chosen import open_warehouse
from polycopy_assets.store.local import LocalStore
import time
run, times = WalletFetch.run, []
async def runs(self):
    times.append(1)
    if len(times) == 3:
        store = LocalStore(Path({str(tmp_path / "store")!r}))
        number, link = lease._latest(store)
        other = type(link)(owner="x", holder=this_process("other"), at=0.0, free=True)
        while not lease._add(store, number + 1, other):
            number, link = lease._latest(store)
        time.sleep(1)
    return await run(self)
WalletFetch.run = runs
"""
        ended = deployment.polycopy("backfill", first=stolen)
        assert ended.returncode == 1, ended.stderr
        assert "has taken over the lock in the store" in ended.stderr.splitlines()[-1]
        assert deployment.here("backfill")[0] == 0
        assert deployment.table() == truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": WALLETS}


class Host:
    """What stands for a host: nothing can be told of its processes but what is in the store."""

    def __init__(self, root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = root / name
        self.file.touch()
        self.store = Directory(root / "store")
        monkeypatch.setattr(lease, "_boot", lambda: "")

    def take(self, wait: float) -> lease.Lease | None:
        """The lock, if it can be had within `wait` seconds."""
        deadline = time.monotonic() + wait

        def waiting(_: object) -> None:
            if time.monotonic() > deadline:
                raise TimeoutError

        try:
            return take_lease(self.store, this_process("x"), self.file, waiting=waiting)
        except TimeoutError:
            return None


def test_a_holder_on_another_host_that_says_nothing_is_replaced_and_cannot_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "CONFIRM_SECONDS", 0.2)
    monkeypatch.setattr(lease, "VALID_SECONDS", 1.0)
    monkeypatch.setattr(lease, "SILENT_SECONDS", 2.0)
    one, other = (Host(tmp_path, name, monkeypatch) for name in ("one", "other"))
    first = one.take(5)
    assert first is not None
    assert other.take(4) is None, "the holder lives"
    first.check()
    first._ended.set()
    first._ended = threading.Event()
    second = other.take(10)
    assert second is not None
    time.sleep(1)  # the number that the first one would add next is deleted by now
    with pytest.raises(LockLost):
        first.check()
    second.check()
    second.release()
    third = one.take(1)
    assert third is not None, "freed: nobody waits"
    third.release()
    assert len(list(one.store.list(LEASES))) <= 3


def test_many_that_want_the_lock_get_it_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lease, "CONFIRM_SECONDS", 0.01)
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.01)
    host, inside, most = Host(tmp_path, "one", monkeypatch), [], []

    def work() -> None:
        for _ in range(5):
            held = host.take(60)
            assert held is not None
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            held.check()
            inside.pop()
            held.release()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (30, 1)
