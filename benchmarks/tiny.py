"""Wallets of 1 to 5 trades, all complete: made once, for every bench that begins with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.bench import until
from benchmarks.deployment import UNLIMITED, Deployment, must
from benchmarks.pages import World
from benchmarks.processes import Ended
from benchmarks.server import PageServer, serving


def tiny_world(wallets: int) -> World:
    """The world of so many tiny wallets."""
    return World(kind="tiny", wallets=wallets, until=until())


def backfill_tiny(root: Path, server: PageServer, world: World, rate_limit: str) -> Ended:
    """The first backfill of all wallets of `world`, below `root`; notes that it is done."""
    deployment = Deployment(root, server.url, rate_limit=rate_limit)
    deployment.want(server.wallets)
    ended = deployment.backfill()
    must(deployment.rows() == server.trades, "every trade is in the table, once")
    (root / "world.json").write_bytes(msgspec.json.encode(world))
    return ended


def place(shared: Path, wallets: int) -> Path:
    """Where the deployment of so many complete tiny wallets lies below `shared`."""
    return shared / f"tiny-{wallets}"


@contextmanager
def complete(shared: Path, wallets: int) -> Iterator[tuple[Deployment, PageServer]]:
    """A deployment in which so many tiny wallets are complete, and their server."""
    root = place(shared, wallets)
    noted = root / "world.json"
    made = noted.exists()
    world = msgspec.json.decode(noted.read_bytes(), type=World) if made else tiny_world(wallets)
    with serving(world) as server:
        if not made:
            backfill_tiny(root, server, world, UNLIMITED)
        server.reset()
        yield Deployment(root, server.url), server
