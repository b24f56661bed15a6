"""Several processes at once on one deployment: one budget, one fetch, one load."""

import re
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.guard.exclusive import SOURCE
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import this_process
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.forks import Forked

REQUESTS, SECONDS = 20, 2.0


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _materialize(
    deployment: Deployment, *which: str, select: str = "wallet_trades", first: str = ""
) -> Forked:
    module = ("-m", "polycopy_assets.definitions")
    return Forked(
        ["asset", "materialize", *module, "--select", select, *which],
        environ=deployment.process_environ(),
        cwd=deployment.root,
        first=first,
        module="dagster",
    )


def _ended_well(processes: list[Forked]) -> None:
    for process in processes:
        assert process.wait(240) == 0, _said(process)[-3000:]


@pytest.mark.timeout(400)
def test_the_server_sees_one_budget_whoever_fetches(deployed: Deployed):
    world = generate(61, 60, most_trades=5)
    wallets = [wallet.lower() for wallet in world.wallets()]
    # A request that is given up may still arrive, later: nobody can tell when.
    with deployed(
        world, lag_seconds=0, POLYCOPY_RATE_LIMIT=f"{REQUESTS}/{SECONDS:g}", POLYCOPY_TIMEOUT="60"
    ) as (deployment, served):
        deployment.want(wallets)
        _ended_well(
            [
                deployment.start("backfill"),
                _materialize(deployment, "--partition-range", f"{wallets[0]}...{wallets[39]}"),
                deployment.start("backfill", "--refresh"),
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
        holder = instance_locks(instance).holder(SOURCE)
    assert len(fetches) >= 2
    assert holder is None
    assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(world)


def test_two_runs_on_one_wallet_both_end_well_and_nothing_is_doubled(deployed: Deployed):
    world = generate(62, 1, most_trades=400, whales=1, whale_trades=5_000)
    wallet = world.wallets()[0].lower()
    with deployed(world) as (deployment, served):
        deployment.want([wallet])
        _ended_well([_materialize(deployment, "--partition", wallet) for _ in range(2)])
        pages = served.state.counts.requests[wallet]
        assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(world)
    # The second brought the wallet up to date: one request at most, for what is newer.
    assert pages <= len(world.truth(wallet)) // 1000 + 2


_NOTING_WHEN_THEY_WORK = """
import time
from polycopy_assets.pipeline import combine, load
for name, module, reader in (
    ("combined_trades", combine, "read_batches"),
    ("trades", load, "sound_batches"),
):
    def slowly(*args, read=getattr(module, reader), name=name, **options):
        begun = time.monotonic()
        time.sleep(0.3)
        with open("spans", "a") as file:
            file.write(f"{name} {begun} {time.monotonic()}\\n")
        return read(*args, **options)
    setattr(module, reader, slowly)
"""


def test_of_loads_at_once_one_works_at_a_time(deployed: Deployed):
    world = generate(63, 40, most_trades=30)
    with deployed(world) as (deployment, _):
        deployment.want([wallet.lower() for wallet in world.wallets()])
        _ended_well([_materialize(deployment, "--partition-range", _all(deployment))])
        both = {"select": "combined_trades,trades", "first": _NOTING_WHEN_THEY_WORK}
        _ended_well([_materialize(deployment, **both) for _ in range(3)])
    noted = (deployment.root / "spans").read_text()
    spans = sorted(
        (float(begun), float(ended), name)
        for name, begun, ended in map(str.split, noted.splitlines())
    )
    assert Counter(name for _, _, name in spans) == {"combined_trades": 3, "trades": 3}
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert deployment.table() == truth(world)


def _all(deployment: Deployment) -> str:
    with deployment.instance() as instance:
        keys = instance.get_dynamic_partitions("wallets")
    return f"{keys[0]}...{keys[-1]}"


def test_a_fetch_that_does_not_move_gives_up_and_the_next_goes_on(deployed: Deployed):
    """Every request is bounded, so this takes a fault that nobody has thought of."""
    world = generate(64, 6, most_trades=5)
    impatient = (
        "from polycopy_assets.guard import heartbeat;"
        "heartbeat.BEAT_SECONDS, heartbeat.STALLED_SECONDS = 0.2, 2.0"
    )
    with deployed(world, POLYCOPY_TIMEOUT="600") as (deployment, served):
        deployment.want([wallet.lower() for wallet in world.wallets()])
        served.state.latency = 500.0
        done = deployment.polycopy("backfill", first=impatient, timeout=60)
        assert done.returncode != 0
        assert "start it again" in done.stderr, done.stderr[-2000:]
        served.state.latency = 0.0
        assert deployment.polycopy("backfill").returncode == 0
    assert deployment.table() == truth(world)


_WITH = """
from polycopy_assets.guard import heartbeat; heartbeat.BEAT_SECONDS = {beat}
from polycopy_assets.cli import display; display.LINE_EVERY_SECONDS = 0.2
"""
_QUICK, _DEAF = _WITH.format(beat=0.2), _WITH.format(beat=1000)


@contextmanager
def backfilling(deployment: Deployment, first: str) -> Iterator[Forked]:
    """A backfill as a process of its own, in which the code `first` runs first."""
    process = deployment.start("backfill", first=first)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _said(process: Forked) -> str:
    return "".join(process.written())


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun, *, deleted: bool) -> None:
    if deleted:
        instance.delete_run(run.run_id)
    else:
        instance.report_run_failed(run, "somebody ended it")


@pytest.mark.parametrize("deleted", [False, True])
def test_a_fetch_whose_run_was_ended_or_deleted_by_somebody_else_stops(
    deployed: Deployed, *, deleted: bool
):
    world = generate(65, 60, most_trades=5)
    with deployed(world, POLYCOPY_CONCURRENCY="1") as (deployment, served):
        served.state.latency = 1.0
        deployment.want([wallet.lower() for wallet in world.wallets()])
        with backfilling(deployment, _QUICK) as process, deployment.instance() as instance:
            _wait_until(lambda: served.state.counts.trade_requests >= 5)
            run = _fetching(instance)
            _end(instance, run, deleted=deleted)
            before = served.state.counts.trade_requests
            assert process.wait(60) == 1
            asked = served.state.counts.trade_requests
            said = _said(process)
        assert asked <= before + 15, "it went on with the fetch"
        assert "Traceback" not in said
        if deleted:
            assert f"run {run.run_id} was deleted while it was working" in said
        else:
            assert f"run {run.run_id} was ended from outside (FAILURE)" in said
        with deployment.instance() as instance:
            jobs = {each.job_name for each in instance.get_runs()}
        assert jobs <= {"fetch"}, "it went on with a load"
        served.state.latency = 0.0
        assert deployment.here("backfill")[0] == 0
    assert deployment.table() == truth(world)


@pytest.mark.parametrize("deleted", [False, True])
def test_a_run_that_waits_stops_too_when_somebody_else_ends_or_deletes_it(
    deployed: Deployed, *, deleted: bool
):
    with deployed(generate(69, 3, most_trades=5)) as (deployment, served):
        deployment.want(generate(69, 3, most_trades=5).wallets())
        with deployment.instance() as instance:
            lock = instance_locks(instance).try_acquire(SOURCE, this_process("fetch", "0" * 32))
            assert lock
            with backfilling(deployment, _QUICK) as process:
                _wait_until(lambda: "Waiting for run 00000000" in _said(process))
                _end(instance, _fetching(instance), deleted=deleted)
                assert process.wait(60) == 1
                assert "Traceback" not in _said(process)
            lock.release()
    assert served.state.counts.trade_requests == 0


def _fetching(instance: dg.DagsterInstance) -> dg.DagsterRun:
    (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    return run


def _freeze(process: Forked, home: Path) -> None:
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
def test_nobody_fetches_beside_a_process_that_does_not_know_yet_that_its_run_is_over(
    deployed: Deployed, *, deleted: bool
):
    world = generate(66, 50, most_trades=5)
    with deployed(world, lag_seconds=0, POLYCOPY_RATE_LIMIT="10/2") as (deployment, served):
        deployment.want(world.wallets())
        with backfilling(deployment, _DEAF) as deaf, deployment.instance() as instance:
            _wait_until(lambda: served.state.counts.trade_requests >= 5)
            run = _fetching(instance)
            _end(instance, run, deleted=deleted)
            with backfilling(deployment, _QUICK) as other:
                _wait_until(lambda: f"Waiting for run {run.run_id[:8]}" in _said(other))
                assert deaf.poll() is None
                deaf.wait(120)
                assert other.wait(120) == 0
        assert _most(served.state.counts.arrivals, 2.0) <= 10
    assert deployment.table() == truth(world)


@pytest.mark.parametrize("ended", ["killed", "thawed"])
def test_a_frozen_holder_is_waited_for_and_named_with_the_command_that_ends_it(
    deployed: Deployed, ended: str
):
    """Its run is ended already; the lock tells that its process is still there."""
    world = generate(67, 60, most_trades=5)
    with deployed(world, lag_seconds=0, POLYCOPY_RATE_LIMIT="10/1", POLYCOPY_CONCURRENCY="2") as (
        deployment,
        served,
    ):
        deployment.want(world.wallets())
        with backfilling(deployment, _QUICK) as frozen, deployment.instance() as instance:
            _wait_until(lambda: served.state.counts.trade_requests >= 5)
            _freeze(frozen, Path(deployment.settings.home))
            run = _fetching(instance)
            instance.report_run_failed(run, "somebody ended it")
            with backfilling(deployment, _QUICK) as other:
                advice = rf"Waiting for run {run.run_id[:8]} .* end it on \S+: (kill -9 \d+)"
                _wait_until(lambda: re.search(advice, _said(other)) is not None)
                asked = served.state.counts.trade_requests
                time.sleep(1.0)
                assert served.state.counts.trade_requests == asked, "somebody fetches beside it"
                if ended == "killed":
                    (command,) = set(re.findall(advice, _said(other)))
                    subprocess.run(command, shell=True, check=True)
                    assert frozen.wait(30) == -signal.SIGKILL
                else:
                    frozen.send_signal(signal.SIGCONT)
                    assert frozen.wait(60) == 1
                    assert "was ended from outside" in _said(frozen)
                assert other.wait(120) == 0
        # What it had let through and not sent when it was frozen, it may send when it is thawed.
        assert _most(served.state.counts.arrivals, 1.0) <= 10 + 2
    assert deployment.table() == truth(world)
