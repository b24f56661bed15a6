"""How long a reconciliation takes that takes old files over, checks them, or records them again.

`make bench-reconcile`. As a baseline the same materializations are written one by one, as Dagster's
public interface does it, in the same run.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.world import World
from polycopy_assets.record.instance import opened
from polycopy_assets.record.materializations import WALLET_TRADES
from polycopy_assets.record.private import runless
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.old_job import OldJob, old_file

BASELINE = 500


def lay_out(deployment: Deployment, world: World) -> int:
    """An old job's files and checkpoint; how many wallets have trades."""
    old = OldJob(deployment)
    filled = [wallet.lower() for wallet in world.wallets() if world.truth(wallet)]
    for wallet in filled:
        path = deployment.root / "store" / "trades" / f"{wallet}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(old_file(world.truth(wallet)))
        old.tick(wallet, len(world.truth(wallet)), at=LAST + 864_000)
    old.write()
    return len(filled)


def _peak(pid: int) -> int:
    """The most memory that a process has had, in KiB; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line), 0)


def timed(what: str, deployment: Deployment, *options: str) -> None:
    """Runs the command, and prints how long it took, its peak of memory, and what it found."""
    started = time.perf_counter()
    with (deployment.root / "said").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "polycopy_assets", "reconcile", "--json", *options],
            env=deployment.process_environ(),
            cwd=deployment.root,
            stdout=said,
            stderr=subprocess.DEVNULL,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            time.sleep(0.05)
        said.seek(0)
        told = json.loads(said.read())
    seconds = time.perf_counter() - started
    print(f"{what:<34}{seconds:>8.1f} s{peak / 1024:>8.0f} MB  {told['counts']}")


def events(home: Path, number: int) -> None:
    """Materializations singly and in batches."""
    made = [
        dg.AssetMaterialization(WALLET_TRADES, partition=f"0x{n:040x}") for n in range(2 * number)
    ]
    with opened(str(home)) as instance:
        started = time.perf_counter()
        for item in made[:number]:
            instance.report_runless_asset_event(item)
        singly = time.perf_counter() - started
        started = time.perf_counter()
        for _ in runless.write(instance, made[number:]):
            pass
        batched = time.perf_counter() - started
    print(f"{number} events: {singly:.2f} s one by one (baseline), {batched:.2f} s in batches")


def main() -> None:
    """Measures, and prints what it measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("wallets", type=int, nargs="?", default=10_000)
    wallets = parser.parse_args().wallets
    world = generate(900, wallets, most_trades=10)
    with tempfile.TemporaryDirectory() as folder:
        # Nobody answers there: all of this asks the source for nothing.
        deployment = Deployment(Path(folder), "http://127.0.0.1:9")
        print(f"{lay_out(deployment, world)} wallets with an old file, {world.count()} trades")
        timed("look", deployment)
        timed("take over, load", deployment, "--apply")
        timed("look, all in order", deployment)
        timed("verify", deployment, "--verify")
        shutil.rmtree(deployment.root / "dagster")
        timed("record from the store", deployment, "--apply")
        events(Path(folder) / "baseline", BASELINE)


if __name__ == "__main__":
    main()
