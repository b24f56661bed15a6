"""Several processes at once on one deployment: one budget, one fetch, one load."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets import liveness
from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployment, sample_api, truth

REQUESTS, SECONDS = 20, 2.0


def _start(deployment: Deployment, *command: str, how: str = "-m") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, how, *command],
        env=deployment.process_environ(),
        cwd=deployment.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _materialize(deployment: Deployment, *which: str) -> subprocess.Popen[str]:
    module = ("-m", "polycopy_assets.definitions")
    return _start(
        deployment, "dagster", "asset", "materialize", *module, "--select", "wallet_trades", *which
    )


def _ended_well(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said[-3000:]


@pytest.mark.timeout(400)
def test_the_server_sees_one_budget_whoever_fetches(tmp_path: Path):
    world = generate(61, 60, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with sample_api(world, lag_seconds=0) as served:
        deployment = Deployment(
            tmp_path,
            served.url,
            POLYCOPY_RATE_LIMIT=f"{REQUESTS}/{SECONDS:g}",
            # A request that is given up may still arrive, later: nobody can tell when.
            POLYCOPY_TIMEOUT="60",
        )
        deployment.want(wallets)
        _ended_well(
            [
                _start(deployment, "polycopy_assets", "backfill"),
                _materialize(deployment, "--partition-range", f"{wallets[0]}...{wallets[39]}"),
                _start(deployment, "polycopy_assets", "backfill", "--refresh"),
            ]
        )
        arrivals = sorted(served.state.counts.arrivals)
    assert len(arrivals) > 3 * REQUESTS
    assert _most(arrivals, SECONDS) <= REQUESTS
    with deployment.instance() as instance:
        fetches = sorted(
            (record.start_time or 0.0, record.end_time or 0.0)
            for record in instance.get_run_records(dg.RunsFilter(job_name="fetch"))
        )
        holders = instance.event_log_storage.get_concurrency_info("source").active_run_ids
    assert len(fetches) >= 2
    assert holders == set(), "somebody still holds the turn"
    assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(world)


def test_two_runs_on_one_wallet_both_end_well_and_nothing_is_doubled(tmp_path: Path):
    world = generate(62, 1, most_trades=400, whales=1, whale_trades=5_000)
    wallet = world.wallets()[0].lower()
    with sample_api(world) as served:
        deployment = Deployment(tmp_path, served.url)
        deployment.want([wallet])
        _ended_well([_materialize(deployment, "--partition", wallet) for _ in range(2)])
        pages = served.state.counts.requests[wallet]
        assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(world)
    # The second brought the wallet up to date: one request at most, for what lies behind.
    assert pages <= len(world.truth(wallet)) // 1000 + 2


_NOTING_WHEN_THEY_WORK = """
import runpy, sys, time
from polycopy_assets.assets import combined_trades, trades
spans = sys.argv.pop(1)
for name, module, reader in (
    ("combined_trades", "polycopy_assets.recombine", "read_batches"),
    ("trades", "polycopy_assets.assets.trades", "read_manifests"),
):
    module = sys.modules[module]
    def slowly(store, read=getattr(module, reader), name=name):
        begun = time.monotonic()
        time.sleep(0.3)
        with open(spans, "a") as file:
            file.write(f"{name} {begun} {time.monotonic()}\\n")
        return read(store)
    setattr(module, reader, slowly)
runpy.run_module("dagster", run_name="__main__")
"""


def test_loads_at_once_take_turns(tmp_path: Path):
    world = generate(63, 40, most_trades=30)
    with sample_api(world) as served:
        deployment = Deployment(tmp_path, served.url)
        deployment.want([wallet.lower() for wallet in world.wallets()])
        _ended_well([_materialize(deployment, "--partition-range", _all(deployment))])
        noted = tmp_path / "spans"
        module = ("-m", "polycopy_assets.definitions")
        load = ("asset", "materialize", *module, "--select", "combined_trades,trades")
        _ended_well(
            [
                _start(deployment, _NOTING_WHEN_THEY_WORK, str(noted), *load, how="-c")
                for _ in range(3)
            ]
        )
    spans = sorted(
        (float(begun), float(ended), name)
        for name, begun, ended in map(str.split, noted.read_text().splitlines())
    )
    assert Counter(name for _, _, name in spans) == {"combined_trades": 3, "trades": 3}
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert deployment.table() == truth(world)


def _all(deployment: Deployment) -> str:
    with deployment.instance() as instance:
        keys = instance.get_dynamic_partitions("wallets")
    return f"{keys[0]}...{keys[-1]}"


def test_a_fetch_that_does_not_move_gives_up_and_the_next_goes_on(tmp_path: Path):
    """Every request is bounded, so this takes a fault that nobody has thought of."""
    world = generate(64, 6, most_trades=5)
    impatient = (
        "from polycopy_assets import liveness;"
        "liveness.BEAT_SECONDS, liveness.STALLED_SECONDS = 0.2, 2.0"
    )
    with sample_api(world) as served:
        deployment = Deployment(tmp_path, served.url, POLYCOPY_TIMEOUT="600")
        deployment.want([wallet.lower() for wallet in world.wallets()])
        served.state.latency = 500.0
        done = deployment.polycopy("backfill", first=impatient, timeout=60)
        assert done.returncode != 0
        assert "start it again" in done.stderr, done.stderr[-2000:]
        served.state.latency = 0.0
        assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(world)


@pytest.mark.parametrize("deleted", [False, True])
def test_a_fetch_whose_run_was_ended_or_deleted_by_somebody_else_stops(
    tmp_path: Path, *, deleted: bool
):
    """Its turn is another one's then: two fetches at once would break the request budget."""
    world = generate(65, 60, most_trades=5)
    with sample_api(world) as served:
        served.state.latency = 1.0
        deployment = Deployment(tmp_path, served.url, POLYCOPY_CONCURRENCY="1")
        deployment.want([wallet.lower() for wallet in world.wallets()])
        process = _start(deployment, _WITH.format(beat=0.2, lease=30), "backfill", how="-c")
        with deployment.instance() as instance:
            _wait_until(lambda: served.state.counts.trade_requests >= 5)
            run = _fetching(instance)
            if deleted:
                instance.delete_run(run.run_id)
            else:
                instance.report_run_failed(run, "somebody ended it")
            said, _ = process.communicate(timeout=15)
            asked = served.state.counts.trade_requests
            assert process.returncode == 1
            assert asked < 30
        assert "Traceback" not in said
        if deleted:
            assert f"run {run.run_id} was deleted while it was at work" in said
        else:
            assert f"run {run.run_id} was ended by somebody else (FAILURE)" in said
        served.state.latency = 0.0
        assert deployment.here("backfill")[0] == 0
    assert deployment.table() == truth(world)


_WITH = """
from polycopy_assets import liveness; from polycopy_assets.__main__ import main
liveness.BEAT_SECONDS, liveness.LEASE_SECONDS = {beat}, {lease}
main()
"""


def _fetching(instance: dg.DagsterInstance) -> dg.DagsterRun:
    (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    return run


def _freeze(process: subprocess.Popen[str], home: Path) -> None:
    """Stops the process at a moment at which it keeps nobody from the database."""
    for _ in range(100):
        process.send_signal(signal.SIGSTOP)
        try:
            for database in (home / "history").rglob("*.db"):
                with closing(sqlite3.connect(database, timeout=0.1)) as free:
                    free.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            time.sleep(0.01)
        else:
            return
    raise AssertionError("it is always writing")


def _most(arrivals: list[float], seconds: float) -> int:
    times = sorted(arrivals)
    return max(sum(at <= other < at + seconds for other in times) for at in times)


@pytest.mark.parametrize("deleted", [False, True])
def test_nobody_fetches_beside_a_process_that_has_not_heard_yet_that_its_run_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, deleted: bool
):
    """Dagster frees the place of a run that is deleted at once; its process works on."""
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.3)
    monkeypatch.setattr(liveness, "LEASE_SECONDS", 6.0)
    world = generate(66, 50, most_trades=5)
    with sample_api(world, lag_seconds=0) as served:
        deployment = Deployment(tmp_path, served.url, POLYCOPY_RATE_LIMIT="10/2")
        deployment.want(world.wallets())
        deaf = _start(deployment, _WITH.format(beat=1000, lease=6), "backfill", how="-c")
        try:
            with deployment.instance() as instance:
                _wait_until(lambda: served.state.counts.trade_requests >= 5)
                run = _fetching(instance)
                if deleted:
                    instance.delete_run(run.run_id)
                else:
                    instance.report_run_canceled(run)
            assert deployment.here("backfill")[0] == 0
            assert deaf.poll() is None
        finally:
            deaf.kill()
            deaf.wait()
        assert _most(served.state.counts.arrivals, 2.0) <= 10
    assert deployment.table() == truth(world)


def test_a_process_that_was_frozen_sends_nothing_when_its_turn_is_another_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.3)
    monkeypatch.setattr(liveness, "LEASE_SECONDS", 1.0)
    world = generate(67, 60, most_trades=5)
    with sample_api(world, lag_seconds=0) as served:
        deployment = Deployment(
            tmp_path, served.url, POLYCOPY_RATE_LIMIT="10/1", POLYCOPY_CONCURRENCY="2"
        )
        deployment.want(world.wallets())
        frozen = _start(deployment, _WITH.format(beat=0.3, lease=1), "backfill", how="-c")
        with deployment.instance() as instance:
            _wait_until(lambda: served.state.counts.trade_requests >= 5)
            _freeze(frozen, Path(deployment.settings.home))
            instance.report_run_failed(_fetching(instance), "it has said nothing for long")
            asked = served.state.counts.trade_requests
            noted: list[str] = []

            def thaw() -> None:
                _wait_until(lambda: served.state.counts.trade_requests >= asked + 15)
                frozen.send_signal(signal.SIGCONT)
                frozen.communicate(timeout=90)
                notes = instance.daemon_cursor_storage.get_cursor_values({"polycopy/turn/source"})
                noted.extend(notes.values())

            thawing = threading.Thread(target=thaw)
            thawing.start()
            assert deployment.here("backfill")[0] == 0
            thawing.join()
        assert frozen.returncode == 1
        # What it had let through and not sent when it was frozen, it sends.
        assert _most(served.state.counts.arrivals, 1.0) <= 10 + 2
    assert [note.split()[0] for note in noted] == ["held"], "the turn of the other is taken away"
    assert deployment.table() == truth(world)
