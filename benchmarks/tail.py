"""How long after the last page the table is complete, as a share of the fetch.

The server notes when it served the first and the last page. The table is complete at the latest
when `polycopy backfill` has ended, so the end of the process counts: its last checks and its exit
are in the figure.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import bench, kept, until
from benchmarks.deployment import Deployment, must
from benchmarks.figures import Figure
from benchmarks.pages import World
from benchmarks.server import serving


class Size(NamedTuple):
    """Wallets, trades, and rounds."""

    wallets: int
    trades: int
    rounds: int


SIZES = {"full": Size(400, 2_000_000, 2), "quick": Size(50, 100_000, 1), "smoke": Size(5, 5_000, 1)}


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """The tail, in seconds beside those of the fetch."""
    world = World(kind="many", wallets=size.wallets, trades=size.trades, until=until())
    tails, fetches, peaks = [], [], []
    with serving(world) as server, kept():
        for number in range(size.rounds):
            server.reset()
            deployment = Deployment(work / str(number), server.url)
            deployment.want(server.wallets)
            ended = deployment.backfill()
            must(deployment.rows() == server.trades, "every trade is in the table, once")
            counts = server.counts()
            fetches.append(counts.last_page - counts.first_page)
            tails.append(ended.ended_at - counts.last_page)
            peaks.append(ended.peak)
    yield Figure(
        what=f"tail after the last page, {size.trades:,} trades",
        unit="s",
        samples=tails,
        baseline="the fetch",
        against=fetches,
        goal="<= 0.05",
    )
    yield Figure(what="peak memory of that backfill", unit="MB", samples=peaks, goal="<= 512")


if __name__ == "__main__":
    bench("tail", SIZES, measure)
