"""Several processes at once on one deployment: one budget, one fetch, one load."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest

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
        deployment = Deployment(tmp_path, served.url, POLYCOPY_RATE_LIMIT=f"{REQUESTS}/{SECONDS:g}")
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
    most = max(
        sum(at <= other < at + SECONDS for other in arrivals[n : n + 3 * REQUESTS])
        for n, at in enumerate(arrivals)
    )
    assert most <= REQUESTS
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
for name in ("combined_trades", "trades"):
    module = sys.modules[f"polycopy_assets.assets.{name}"]
    def slowly(store, read=module.read_manifests, name=name):
        begun = time.monotonic()
        time.sleep(0.3)
        with open(spans, "a") as file:
            file.write(f"{name} {begun} {time.monotonic()}\\n")
        return read(store)
    module.read_manifests = slowly
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


def test_a_fetch_whose_run_was_ended_by_somebody_else_stops(tmp_path: Path):
    """Its turn is another one's then: two fetches at once would break the request budget."""
    world = generate(65, 60, most_trades=5)
    quick = (
        "from polycopy_assets import liveness; from polycopy_assets.__main__ import main;"
        "liveness.BEAT_SECONDS = 0.2; main()"
    )
    with sample_api(world) as served:
        served.state.latency = 1.0
        deployment = Deployment(tmp_path, served.url, POLYCOPY_CONCURRENCY="1")
        deployment.want([wallet.lower() for wallet in world.wallets()])
        process = _start(deployment, quick, "backfill", how="-c")
        with deployment.instance() as instance:
            _wait_until(lambda: served.state.counts.trade_requests >= 5)
            (run,) = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
            instance.report_run_failed(run, "somebody ended it")
            said, _ = process.communicate(timeout=15)
            asked = served.state.counts.trade_requests
            assert process.returncode != 0
            assert f"run {run.run_id} was ended by somebody else (FAILURE)" in said
            assert asked < 30
        served.state.latency = 0.0
        done = deployment.polycopy("backfill")
        assert done.returncode == 0, done.stderr
    assert deployment.table() == truth(world)
