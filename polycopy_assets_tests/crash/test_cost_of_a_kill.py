"""kill -9 in the middle of a fetch from a source that answers at once: what is served again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polycopy_assets_tests.fakes.instant import PAGE, Instant, Served, instant

FETCH = """
import asyncio, sys
from pathlib import Path
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.many_wallets import Fetcher
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.open import open_source
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.local import LocalStore

async def main(url, store, *wallets):
    limits = {"windows": [Window(10**6, 1.0)], "concurrency": 16, "timeout": 30}
    async with open_source("polymarket", url, TRADES, **limits) as source:
        store = FeedStore(LocalStore(Path(store)), TRADES)
        coverage = CoverageWriter(store, "test")
        options = {"known": lambda wallet: (), "coverage": coverage, "progress": Progress()}
        fetcher = Fetcher(source, store, concurrency=16, **options)
        async for outcome in fetcher.fetch(wallets):
            assert isinstance(outcome, Fetched), outcome
            print(outcome.wallet, sum(s.rows for s in outcome.segments), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def start(server: Instant, store: Path, wallets: list[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", FETCH, server.url, str(store), *wallets]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def killed_at_half(server: Instant, store: Path, wallets: list[str], rows: int) -> Served:
    """Kills a fetch when half of the rows have been served, and lets another one finish."""
    process = start(server, store, wallets)
    while (served := server.served()).rows < len(wallets) * rows // 2:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert served.rows < len(wallets) * rows, "it was killed too late"
    printed, _ = start(server, store, wallets).communicate()
    assert sorted(printed.splitlines()) == sorted(f"{wallet} {rows}" for wallet in wallets)
    return server.served()


@pytest.mark.parametrize(("wallets", "rows"), [(500, PAGE), (1, 800_000)])
def test_killed_at_half_it_costs_few_rows(tmp_path: Path, wallets: int, rows: int):
    """About a two-hundredth; twice a hundredth on a machine that has much else to do."""
    addresses = [f"0x{number:040x}" for number in range(wallets)]
    with instant(rows) as server:
        served = killed_at_half(server, tmp_path / "store", addresses, rows)
    assert served.rows - served.again == wallets * rows
    assert served.again <= wallets * rows // 50
