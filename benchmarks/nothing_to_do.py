"""`polycopy backfill` when every wallet is complete: time, and requests (none)."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import bench, kept
from benchmarks.deployment import must, report
from benchmarks.figures import Figure
from benchmarks.processes import run
from benchmarks.tiny import complete


class Size(NamedTuple):
    """Wallets and rounds."""

    wallets: int
    rounds: int


SIZES = {"full": Size(10_000, 5), "quick": Size(400, 2), "smoke": Size(20, 1)}


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """The command beside the start of Dagster's own, and the requests that the server counted."""
    times, starts, requests = [], [], []
    with complete(work.parent, size.wallets) as (deployment, server), kept():
        for _ in range(size.rounds):
            ended = deployment.backfill()
            must(report(ended)["complete"] == size.wallets, "every wallet is complete")
            times.append(ended.seconds)
            requests.append(server.counts().requests)
            start = [sys.executable, "-m", "dagster", "--version"]
            starts.append(run(start, environ=deployment.environ, cwd=work).checked().seconds)
    yield Figure(
        what=f"nothing to do, {size.wallets:,} wallets complete",
        unit="s",
        samples=times,
        baseline="dagster --version",
        against=starts,
        goal="<= 4",
        goal_of="value",
    )
    yield Figure(what="requests for that", unit="requests", samples=requests, goal="<= 0")


if __name__ == "__main__":
    bench("nothing_to_do", SIZES, measure)
