"""Many wallets of a few trades under the default budget, beside the time of the requests alone.

200 requests in 10 seconds are 20 a second: n requests take n ÷ 20 seconds, whoever sends them. The
whole command counts, from its start to its exit, with the complete table.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import bench
from benchmarks.deployment import must
from benchmarks.figures import Figure
from benchmarks.server import serving
from benchmarks.tiny import backfill_tiny, place, tiny_world

RATE_LIMIT = "200/10"
PER_SECOND = 20


class Size(NamedTuple):
    """Wallets."""

    wallets: int


SIZES = {"full": Size(10_000), "quick": Size(400), "smoke": Size(20)}


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """The time of one backfill; its wallets are left for the benches that need them complete."""
    world = tiny_world(size.wallets)
    with serving(world) as server:
        ended = backfill_tiny(work / "all", server, world, RATE_LIMIT)
        requests = server.counts().requests
    must(requests >= size.wallets, "every wallet was requested")
    yield Figure(
        what=f"{size.wallets:,} tiny wallets, 200 requests in 10 s",
        unit="s",
        samples=[ended.seconds],
        baseline=f"{requests:,} requests alone, computed",
        against=[requests / PER_SECOND],
        goal="<= 1.05",
    )
    yield Figure(
        what="requests for them",
        unit="requests",
        samples=[requests],
        baseline="one for each wallet",
        against=[size.wallets],
    )
    left = place(work.parent, size.wallets)
    shutil.rmtree(left, ignore_errors=True)
    (work / "all").rename(left)


if __name__ == "__main__":
    bench("tiny_wallets", SIZES, measure)
