"""Rows a second from the server to durable segments, beside a bare HTTP loop.

The baselines are httpx clients that walk the same wallets page by page with the same concurrency
and keep nothing. One decodes each page with `.json()`; the other only looks for the cursor at the
end of the bytes. Ours is measured twice: the engine alone (`pipeline.fetch`, with a record that
keeps nothing), and within `polycopy backfill`, from the first page that the server served to the
last.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

from benchmarks.bench import bench, kept, until
from benchmarks.deployment import UNLIMITED, Deployment, clean_environ, must
from benchmarks.figures import Figure
from benchmarks.pages import World
from benchmarks.processes import ROOT, run
from benchmarks.server import PageServer, serving
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.pipeline.fetch import FetchPlan, fetch
from polycopy_assets.pipeline.ports import FetchPorts, Limits
from polycopy_assets.settings.parse import parse_rate_limit
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.open import open_source
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.local import LocalStore

CONCURRENCY = 16


class Size(NamedTuple):
    """Wallets, trades, and rounds."""

    wallets: int
    trades: int
    rounds: int


SIZES = {"full": Size(500, 500_000, 3), "quick": Size(100, 100_000, 1), "smoke": Size(5, 5_000, 1)}


def cursor_of_json(answer: httpx.Response) -> str:
    """The cursor to the next page; empty at the end."""
    page = answer.json()["pagination"]
    return page["next_cursor"] if page["has_more"] else ""


def cursor_of_bytes(answer: httpx.Response) -> str:
    """The same, without decoding the page."""
    end = answer.content[-200:]
    following = end.rpartition(b'"next_cursor":"')[2]
    return following.split(b'"')[0].decode() if b'"has_more":true' in end else ""


def walk_bare(url: str, wallets: list[str], cursor_of: Callable[[httpx.Response], str]) -> None:
    """Reads every page of every wallet."""

    async def main() -> None:
        turn = asyncio.Semaphore(CONCURRENCY)
        limits = httpx.Limits(max_connections=CONCURRENCY)
        async with httpx.AsyncClient(limits=limits, timeout=60, trust_env=False) as client:

            async def one(wallet: str) -> None:
                params = {"user": wallet, "start": 1, "taker_only": "false", "limit": 1000}
                async with turn:
                    while True:
                        answer = await client.get(f"{url}/v2/trades", params=params)
                        following = cursor_of(answer.raise_for_status())
                        if not following:
                            return
                        params["cursor"] = following

            await asyncio.gather(*(one(wallet) for wallet in wallets))

    asyncio.run(main())


class Unrecorded:
    """A record that keeps nothing: every method of `pipeline.ports.FetchRecord` does nothing."""

    def segments(self, wallet: str) -> tuple[()]:
        """No wallet has any yet."""
        del wallet
        return ()

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: None


def walk_to_segments(url: str, wallets: list[str]) -> None:
    """Fetches every wallet into a store in the current directory, with our engine."""
    record: Any = Unrecorded()
    store = FeedStore(LocalStore(Path("store")), TRADES)
    ports = FetchPorts(
        open_source=lambda: open_source(
            "polymarket",
            url,
            TRADES,
            windows=[Window(*each) for each in parse_rate_limit(UNLIMITED)],
            concurrency=CONCURRENCY,
            timeout=60,
        ),
        store=store,
        coverage=CoverageWriter(store, "bench"),
        record=record,
        limits=Limits(CONCURRENCY),
        progress=Progress(),
        check=lambda: None,
        deadline=Deadline(),
    )
    report = fetch(FetchPlan(targets=wallets), ports)
    must(report.recorded == len(wallets), f"every wallet is fetched: {report.failures[:1]}")


WAYS: dict[str, Callable[[str, list[str]], None]] = {
    "bare": lambda url, wallets: walk_bare(url, wallets, cursor_of_bytes),
    "json": lambda url, wallets: walk_bare(url, wallets, cursor_of_json),
    "engine": walk_to_segments,
}


def alone(way: str, server: PageServer, root: Path) -> float:
    """Seconds that a way takes for all wallets, in a process of its own; its start does not count.

    `way` is a key of `WAYS`.
    """
    root.mkdir(parents=True)
    listed = root / "wallets.json"
    listed.write_bytes(msgspec.json.encode(server.wallets))
    server.reset()
    ended = run(
        [sys.executable, "-m", "benchmarks.fetch_rate", way, server.url, str(listed)],
        environ={**clean_environ(), "PYTHONPATH": str(ROOT)},
        cwd=root,
    ).checked()
    must(server.counts().rows >= server.trades, "every row was served")
    return float(ended.out)


def in_backfill(server: PageServer, root: Path) -> float:
    """Rows a second of the fetch within `polycopy backfill`, as the server saw it."""
    deployment = Deployment(root, server.url, POLYCOPY_CONCURRENCY=str(CONCURRENCY))
    deployment.want(server.wallets)
    server.reset()
    deployment.backfill()
    counts = server.counts()
    must(deployment.rows() == server.trades, "every trade is in the table, once")
    return server.trades / (counts.last_page - counts.first_page)


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """Both of ours, each beside the bare loop."""
    world = World(kind="many", wallets=size.wallets, trades=size.trades, until=until())
    bare, decoded, engine, whole = [], [], [], []
    with serving(world, ceiling=min(1.0, size.trades / 100_000)) as server, kept():
        for number in range(size.rounds):
            bare.append(server.trades / alone("bare", server, work / f"bare-{number}"))
            decoded.append(server.trades / alone("json", server, work / f"json-{number}"))
            engine.append(server.trades / alone("engine", server, work / f"engine-{number}"))
            whole.append(in_backfill(server, work / f"whole-{number}"))
    baselines = {"httpx with .json()": decoded, "httpx, bytes thrown away": bare}
    for baseline, against in baselines.items():
        yield Figure(
            what="fetch to durable segments, engine alone",
            unit="rows/s",
            samples=engine,
            baseline=baseline,
            against=against,
            goal=">= 0.6",
        )
    yield Figure(
        what="the fetch within `polycopy backfill`",
        unit="rows/s",
        samples=whole,
        baseline="httpx with .json()",
        against=decoded,
        note="combining and loading beside it share the processors, and count",
    )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in WAYS:
        listed: list[str] = msgspec.json.decode(Path(sys.argv[3]).read_bytes())
        started = time.perf_counter()
        WAYS[sys.argv[1]](sys.argv[2], listed)
        print(time.perf_counter() - started)
    else:
        bench("fetch_rate", SIZES, measure)
