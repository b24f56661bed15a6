"""Where the time of a backfill of small wallets goes; prints what it measured.

The record is written beside the requests, on another thread of the same interpreter, so the parts
nearly add up where nothing waits for a network. Each is measured alone, on the same wallets in the
same run: fetching without Dagster, and recording without fetching, once with the pooled event log
and once with Dagster's own (the baseline).

    python benchmarks/small_wallets.py [WALLETS]
"""

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import httpx

from polycopy_assets.cli.backfill import backfill
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.fetch.iterate_async import iterate_async
from polycopy_assets.fetch.many_wallets import Fetcher
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.record import materializations
from polycopy_assets.record.instance import opened
from polycopy_assets.record.partitions import register, wallets_partitions
from polycopy_assets.settings import Settings
from polycopy_assets.settings.parse import parse_rate_limit
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.open import open_source
from polycopy_assets.store.local import LocalStore
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

UNLIMITED = "1000000/1"


@contextmanager
def sample_api(wallets: int) -> Iterator[str]:
    """The sample API in a process of its own, with wallets of up to thirty trades."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "polycopy_assets.demo", "--wallets", str(wallets)),
            *("--whales", "0", "--most-trades", "30"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def settings(root: Path, url: str) -> Settings:
    """A deployment of its own below `root`, without a request budget."""
    return Settings(
        source_url=url,
        rate_limit=UNLIMITED,
        store=str(root / "store"),
        warehouse=str(root / "warehouse.duckdb"),
        home=str(root / "dagster"),
    )


def fetch_alone(chosen: Settings, wallets: list[str]) -> tuple[float, list[Fetched]]:
    """Seconds to make all wallets durable, with nothing recorded."""
    progress = Progress()

    async def outcomes() -> AsyncIterator[Fetched | Failed]:
        async with open_source(
            chosen.source,
            chosen.source_url,
            windows=[Window(*each) for each in parse_rate_limit(UNLIMITED)],
            concurrency=chosen.concurrency,
            timeout=chosen.timeout,
        ) as source:
            fetcher = Fetcher(
                source,
                LocalStore(Path(chosen.store)),
                concurrency=chosen.concurrency,
                known=lambda _: (),
                progress=progress,
            )
            async for outcome in fetcher.fetch(wallets):
                yield outcome

    started = time.perf_counter()
    found = list(iterate_async(outcomes, ahead=64))
    seconds = time.perf_counter() - started
    fetched = [item for item in found if isinstance(item, Fetched)]
    assert len(fetched) == len(wallets), "some wallets failed"
    return seconds, fetched


def requests_alone(url: str, wallets: list[str], concurrency: int) -> float:
    """Seconds for the bare requests: one a wallet, nothing looked at, nothing kept."""

    async def main() -> None:
        limits = httpx.Limits(max_connections=concurrency)
        turn = asyncio.Semaphore(concurrency)
        async with httpx.AsyncClient(limits=limits, timeout=30) as client:

            async def one(wallet: str) -> None:
                async with turn:
                    params = {"user": wallet, "start": 1, "taker_only": "false", "limit": 1000}
                    (await client.get(f"{url}/v2/trades", params=params)).raise_for_status()

            await asyncio.gather(*(one(wallet) for wallet in wallets))

    started = time.perf_counter()
    asyncio.run(main())
    return time.perf_counter() - started


def record_alone(instance: dg.DagsterInstance, fetched: list[Fetched]) -> float:
    """Seconds to record what was fetched, from inside a run, as the asset does it."""

    @dg.asset(name="wallet_trades", partitions_def=wallets_partitions, output_required=False)
    def recording() -> Iterator[dg.AssetMaterialization]:
        for item in fetched:
            yield materializations.materialization(
                item.wallet, *materializations.describe(item, "file")
            )

    definitions = dg.Definitions(
        assets=[recording], jobs=[dg.define_asset_job("record", selection=["wallet_trades"])]
    )
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    started = time.perf_counter()
    definitions.resolve_job_def("record").execute_in_process(instance=instance, run_config=quiet)
    return time.perf_counter() - started


def whole_backfill(chosen: Settings, wallets: list[str]) -> float:
    """Seconds of `polycopy backfill`, but for the start of the process."""
    DuckDBWarehouse(Path(chosen.warehouse)).add_traders(wallets)
    with opened(chosen.home) as instance:
        register(instance, wallets)
        started = time.perf_counter()
        report = backfill(
            instance, chosen, refresh=False, progress=Progress(), say=lambda text: None
        )
        seconds = time.perf_counter() - started
    assert report.complete == len(wallets), report.failures[:3]
    assert not report.failed_checks, report.failed_checks
    return seconds


def main() -> None:
    """Measures and prints."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with sample_api(count) as url, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        wallets = [wallet.lower() for wallet in httpx.get(f"{url}/demo/wallets").json()]
        whole = whole_backfill(settings(root / "whole", url), wallets)
        bare = requests_alone(url, wallets, 16)
        fetching, fetched = fetch_alone(settings(root / "fetch", url), wallets)
        with opened(str(root / "pooled")) as instance:
            pooled = record_alone(instance, fetched)
        plain_home = root / "plain"
        plain_home.mkdir()
        (plain_home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        with dg.DagsterInstance.from_config(str(plain_home)) as instance:
            plain = record_alone(instance, fetched)
    trades = sum(item.new_rows for item in fetched)
    print(
        f"{count} wallets, {trades} trades, no request budget, {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    )
    for name, seconds in (
        ("backfill, whole", whole),
        ("bare requests, one a wallet", bare),
        ("fetch alone: requests, checks, segments with fsync", fetching),
        ("record alone, pooled event log", pooled),
        ("record alone, Dagster's own event log (baseline)", plain),
    ):
        print(f"  {name:<52} {seconds:7.1f} s  {seconds / count * 1000:6.2f} ms a wallet")
    rest = whole - fetching - pooled
    print(f"  {'rest: combine, load, checks, sharing the interpreter':<52} {rest:7.1f} s")


if __name__ == "__main__":
    main()
