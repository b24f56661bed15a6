"""How long a reconciliation takes: taking over old files, checking, recording from the store.

`make bench-reconcile`. The wallets are those of an old job. Baseline: one materialization, written
as Dagster's public interface does it, in the same run. Not part of `make bench`: a deployment does
it once.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import bench
from benchmarks.deployment import clean_environ
from benchmarks.figures import Figure
from benchmarks.processes import Ended, run
from benchmarks.record import events, one_by_one
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.world import World
from polycopy_assets.record.instance import opened
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.old_job import OldJob, old_file

BASELINE = 500
COMMAND = ("-m", "polycopy_assets", "reconcile", "--json")


class Size(NamedTuple):
    """Wallets."""

    wallets: int


SIZES = {"full": Size(10_000), "quick": Size(500), "smoke": Size(10)}


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


def reconcile(deployment: Deployment, *options: str) -> tuple[Ended, str]:
    """One reconciliation, and what it counted. It asks the source for nothing."""
    environ = {**clean_environ(), **deployment.environ}
    ended = run([sys.executable, *COMMAND, *options], environ=environ, cwd=deployment.root)
    return ended, json.dumps(json.loads(ended.out)["counts"])


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """Each kind of reconciliation, for one wallet, beside writing one materialization."""
    world = generate(900, size.wallets, most_trades=10)
    deployment = Deployment(work, "http://127.0.0.1:9")
    filled = lay_out(deployment, world)
    with opened(str(work / "baseline")) as instance:
        singly = 1000 * one_by_one(instance, events(BASELINE)) / BASELINE
    for what, options in (
        ("look", ()),
        ("take over, load", ("--apply",)),
        ("look, all in order", ()),
        ("verify", ("--verify",)),
        ("record from the store", ("--apply",)),
    ):
        if what == "record from the store":
            shutil.rmtree(work / "dagster")
        ended, counted = reconcile(deployment, *options)
        yield Figure(
            what=f"{what}, {filled:,} wallets: a wallet",
            unit="ms",
            samples=[1000 * ended.seconds / filled],
            baseline="one event, one by one",
            against=[singly],
            note=f"{ended.seconds:.1f} s and {ended.peak:.0f} MB in all; {counted}",
        )


if __name__ == "__main__":
    bench("reconcile", SIZES, measure)
