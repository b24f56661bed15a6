"""A backfill that is killed (SIGKILL) when half of its rows are served, and started again.

The server counts rows. Those that it has served more than a backfill that is not killed needs are
the price of the kill, as a share of all trades. Even that one is served a few rows twice: where a
walker hands over a part of its interval, both read the page at the border.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import bench, kept, until
from benchmarks.deployment import Deployment, must
from benchmarks.figures import Figure
from benchmarks.pages import World
from benchmarks.server import PageServer, serving


class Size(NamedTuple):
    """Wallets, trades, and rounds."""

    wallets: int
    trades: int
    rounds: int


SIZES = {"full": Size(500, 500_000, 3), "quick": Size(100, 100_000, 2), "smoke": Size(5, 20_000, 1)}


def served(server: PageServer, root: Path, *, killed: bool) -> int:
    """The rows served until every wallet is complete."""
    server.reset()
    deployment = Deployment(root, server.url)
    deployment.want(server.wallets)
    if killed:
        half = server.trades // 2
        ended = deployment.polycopy("backfill", kill_when=lambda: server.counts().rows >= half)
        if ended.code == 0:
            print("the backfill ended before it could be killed", flush=True)
    deployment.backfill()
    must(deployment.rows() == server.trades, "every trade is in the table, once")
    return server.counts().rows


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """Rows served twice because of the kill."""
    world = World(kind="many", wallets=size.wallets, trades=size.trades, until=until())
    with serving(world) as server:
        whole = [served(server, work / "whole", killed=False)]
        ended = []
        with kept():
            for root in (work / f"killed-{number}" for number in range(size.rounds)):
                rows = served(server, root, killed=True)
                ended.append(rows)
    yield Figure(
        what="rows fetched again after a kill at half",
        unit="% of all",
        samples=[100 * (rows - whole[0]) / size.trades for rows in ended],
        goal="<= 1",
    )
    yield Figure(
        what="rows served in all, killed at half",
        unit="rows",
        samples=ended,
        baseline="not killed",
        against=whole,
    )


if __name__ == "__main__":
    bench("kill", SIZES, measure)
