"""Scattered wallets, fetched in the ways that Dagster's UI offers, each beside the others.

Every way gets the same work: a deployment under `dagster dev` with WALLETS complete wallets but for
every STEP-th. Prints seconds until all are recorded, and how many runs that took.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployment, sample_api
from polycopy_assets_tests.dev import Ui, dagster_dev, wait_for
from polycopy_assets_tests.of_trades import KEYS, record_in

Way = Callable[[Ui, list[str], list[str]], object]

WAYS: dict[str, Way] = {
    "backfill of the missing ones": lambda ui, _, missing: ui.launch_backfill(missing),
    "backfill of all, `select: remaining`": lambda ui, every, _: ui.launch_backfill(
        every, config={"select": "remaining"}
    ),
    "job `fetch`, one run": lambda ui, _, __: ui.launch_job("fetch", {}),
}


def measure(way: Way, wallets: int, step: int) -> tuple[float, int]:
    """Seconds until all wallets are recorded, and the runs that were started."""
    world = generate(51, wallets, most_trades=3)
    every = [wallet.lower() for wallet in world.wallets()]
    missing = every[step // 2 :: step]
    with tempfile.TemporaryDirectory() as root, sample_api(world) as served:
        deployment = Deployment(Path(root), served.url)
        deployment.want(every)
        with deployment.instance() as instance:
            deployment.fetch(instance, wallets=sorted(set(every) - set(missing)))
        with dagster_dev(deployment) as ui, deployment.instance() as instance:
            before = _fetches(instance)
            started = time.monotonic()
            way(ui, every, missing)
            wait_for(lambda: len(record_in(instance).versions()) == wallets, 1800, "all wallets")
            return time.monotonic() - started, _fetches(instance) - before


def _fetches(instance: dg.DagsterInstance) -> int:
    return sum(
        run.job_name == "fetch" or KEYS.wallets in (run.asset_selection or ())
        for run in instance.get_runs()
    )


if __name__ == "__main__":
    wallets, step = (int(text) for text in (sys.argv[1:] or ["1000", "50"]))
    print(f"{wallets // step} scattered wallets of {wallets:,}, the others complete")
    for name, way in WAYS.items():
        seconds, runs = measure(way, wallets, step)
        print(f"{name:40} {seconds:7.1f} s  {runs:4} runs", flush=True)
