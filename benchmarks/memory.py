"""The most memory of a whole backfill of one wallet, small and large: the process and its tree."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import bench, until
from benchmarks.deployment import Deployment, must
from benchmarks.figures import Figure
from benchmarks.pages import World
from benchmarks.processes import Ended
from benchmarks.server import serving

FLAT = 1.1
"""The two peaks count as equal up to this ratio."""


class Size(NamedTuple):
    """Trades of the small and of the large wallet."""

    small: int
    large: int


SIZES = {
    "full": Size(500_000, 5_000_000),
    "quick": Size(50_000, 200_000),
    "smoke": Size(2_000, 6_000),
}


def copied(trades: int, root: Path) -> Ended:
    """The backfill of one wallet with so many trades."""
    world = World(kind="whale", wallets=1, trades=trades, until=until())
    with serving(world) as server:
        deployment = Deployment(root, server.url)
        deployment.want(server.wallets)
        ended = deployment.backfill()
        must(deployment.rows() == trades, "every trade is in the table, once")
    return ended


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """The peak of the large one beside that of the small one."""
    small = copied(size.small, work / "small")
    yield Figure(
        what=f"peak memory, one wallet of {size.small:,} trades",
        unit="MB",
        samples=[small.peak],
        goal="<= 512",
    )
    large = copied(size.large, work / "large")
    what = f"one wallet of {size.large:,} trades"
    yield Figure(
        what=f"peak memory, {what}",
        unit="MB",
        samples=[large.peak],
        goal="<= 512",
    )
    yield Figure(
        what=f"peak memory, {what}",
        unit="MB",
        samples=[large.peak],
        baseline=f"{size.small:,} trades",
        against=[small.peak],
        goal=f"<= {FLAT}",
    )
    yield Figure(
        what=f"time a million trades, {what}",
        unit="s",
        samples=[large.seconds / size.large * 1e6],
        baseline=f"{size.small:,} trades",
        against=[small.seconds / size.small * 1e6],
    )


if __name__ == "__main__":
    bench("memory", SIZES, measure)
