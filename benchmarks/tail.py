"""How long after the last page the table is complete, as a share of the fetch.

The server notes when it served the first and the last page. The table is complete at the latest
when `polycopy backfill` has ended, so the end of the process counts: its last checks and its exit
are in the figure. Measured without a budget, where fetching, combining and loading share the
processors, and under the default budget, as with the real source.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import bench, kept, until
from benchmarks.deployment import UNLIMITED, Deployment, must
from benchmarks.figures import Figure
from benchmarks.pages import World
from benchmarks.server import PageServer, serving
from polycopy_assets.settings import DEFAULT_RATE_LIMIT


class Size(NamedTuple):
    """Wallets, trades, and rounds without a budget and under it."""

    wallets: int
    trades: int
    rounds: int
    under_budget: int


SIZES = {
    "full": Size(400, 2_000_000, 3, 1),
    "quick": Size(50, 100_000, 1, 0),
    "smoke": Size(5, 5_000, 1, 1),
}


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """The tail, in seconds beside those of the fetch."""
    world = World(kind="many", wallets=size.wallets, trades=size.trades, until=until())
    with serving(world) as server:
        yield from tail("no budget", UNLIMITED, size.rounds, server, work / "free")
        if size.under_budget:
            what = f"{DEFAULT_RATE_LIMIT} requests"
            yield from tail(what, DEFAULT_RATE_LIMIT, size.under_budget, server, work / "budget")


def tail(
    what: str, rate_limit: str, rounds: int, server: PageServer, work: Path
) -> Iterator[Figure]:
    """The same with this budget of requests."""
    tails, fetches, peaks = [], [], []
    with kept():
        for number in range(rounds):
            server.reset()
            deployment = Deployment(work / str(number), server.url, rate_limit=rate_limit)
            deployment.want(server.wallets)
            ended = deployment.backfill()
            must(deployment.rows() == server.trades, "every trade is in the table, once")
            counts = server.counts()
            fetches.append(counts.last_page - counts.first_page)
            tails.append(ended.ended_at - counts.last_page)
            peaks.append(ended.peak)
    yield Figure(
        what=f"tail after the last page, {server.trades:,} trades, {what}",
        unit="s",
        samples=tails,
        baseline="the fetch",
        against=fetches,
        goal="<= 0.05",
    )
    yield Figure(
        what=f"peak memory of that backfill, {what}", unit="MB", samples=peaks, goal="<= 512"
    )


if __name__ == "__main__":
    bench("tail", SIZES, measure)
