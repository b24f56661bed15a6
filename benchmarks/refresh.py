"""`polycopy backfill --refresh` of wallets without news: time, growth of the home and the store."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import bench, kept
from benchmarks.deployment import must
from benchmarks.fetch_rate import alone
from benchmarks.figures import Figure
from benchmarks.tiny import complete


class Size(NamedTuple):
    """Wallets and rounds."""

    wallets: int
    rounds: int


SIZES = {"full": Size(10_000, 2), "quick": Size(400, 2), "smoke": Size(20, 1)}


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """A refresh beside bare requests, one for each wallet; all figures are for one wallet."""
    times, bare, grown, objects = [], [], [], []
    with complete(work.parent, size.wallets) as (deployment, server):
        with kept():
            for number in range(size.rounds):
                bare.append(1000 * alone("bare", server, work / str(number)) / size.wallets)
                server.reset()
                before, there = deployment.home_bytes(), deployment.objects()
                ended = deployment.backfill("--refresh")
                must(server.counts().rows == 0, "there was no news")
                must(server.counts().requests >= size.wallets, "every wallet was asked for")
                times.append(1000 * ended.seconds / size.wallets)
                grown.append((deployment.home_bytes() - before) / size.wallets)
                objects.append((deployment.objects() - there) / size.wallets)
        must(deployment.rows() == server.trades, "every trade is in the table, once")
    what = f"refresh of {size.wallets:,} wallets without news"
    yield Figure(
        what=f"{what}: a wallet",
        unit="ms",
        samples=times,
        baseline="bare httpx, one request",
        against=bare,
        goal="<= 5",
        goal_of="value",
    )
    yield Figure(what="Dagster's home grows, a wallet", unit="bytes", samples=grown, goal="<= 300")
    yield Figure(what="the store grows, a wallet", unit="objects", samples=objects, goal="<= 0.01")


if __name__ == "__main__":
    bench("refresh", SIZES, measure)
