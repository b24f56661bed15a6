"""How fast segments become sorted Parquet, beside DuckDB's own sorted copy of the same files.

One wallet with many trades, and many wallets with 1,000 each. Every measurement runs in a process
of its own. DuckDB gets copies of the files without the comment in their header, which it cannot
read; it writes neither `id` nor `sequence`.
"""

import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import msgspec

from benchmarks.bench import bench, kept
from benchmarks.deployment import clean_environ, must
from benchmarks.figures import Figure
from benchmarks.processes import ROOT, run
from polycopy_assets.batches.combine import combine
from polycopy_assets.demo.generate import LAST
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.batch import Claim
from polycopy_assets.trades.cutter import Cutter
from polycopy_assets.trades.page import Row
from polycopy_assets.trades.shapes import POLYMARKET

CORES = len(os.sched_getaffinity(0))
COPY = """
COPY (
    SELECT
        lower(proxy_wallet) AS wallet_address, make_timestamp("timestamp" * 1000000) AS timestamp,
        side, price, size AS shares_normalized, token_id, outcome AS token_label, condition_id,
        transaction_hash AS tx_hash, slug AS market_slug, title, outcome_index, event_slug
    FROM read_json($files, format = 'newline_delimited', columns = {
        proxy_wallet: 'VARCHAR', side: 'VARCHAR', token_id: 'VARCHAR', condition_id: 'VARCHAR',
        size: 'DOUBLE', price: 'DOUBLE', "timestamp": 'BIGINT', title: 'VARCHAR', slug: 'VARCHAR',
        event_slug: 'VARCHAR', outcome: 'VARCHAR', outcome_index: 'BIGINT',
        transaction_hash: 'VARCHAR'
    })
    ORDER BY wallet_address, timestamp
) TO $target (FORMAT parquet, COMPRESSION zstd)
"""
COMMENT = 0x10
EACH = 1000
"""Trades of each of many wallets."""


class Size(NamedTuple):
    """Trades of the one wallet; the many wallets, and rounds."""

    trades: int
    wallets: int
    rounds: int


SIZES = {"full": Size(1_000_000, 500, 5), "quick": Size(100_000, 50, 2), "smoke": Size(2_000, 2, 1)}


class Taken(msgspec.Struct):
    """Seconds of the wall clock and of the processors."""

    seconds: float
    cpu: float


def rows(wallet: str, number: int, seed: int) -> Iterator[Row]:
    """Rows as Data API v2 serves them, newest first; about 700 bytes each."""
    rng = random.Random(seed)
    markets = [
        (f"0x{rng.getrandbits(256):064x}", rng.randrange(10**76, 10**77), f"sample-market-{each}")
        for each in range(400)
    ]
    second = LAST
    for made in range(number):
        second -= rng.choice((0, 0, 0, 1, 9))
        condition, token, slug = rng.choice(markets)
        tx_hash = f"0x{rng.getrandbits(200):050x}{second:014x}"
        row = {
            "proxy_wallet": wallet,
            "side": rng.choice(("BUY", "SELL")),
            "token_id": str(token),
            "condition_id": condition,
            "size": round(rng.lognormvariate(3, 2), 6),
            "price": round(rng.uniform(0.01, 0.99), 3),
            "timestamp": second,
            "title": f"Will {slug} resolve to Yes?",
            "slug": slug,
            "icon": f"https://polymarket-upload.s3.us-east-2.amazonaws.com/{slug}.png",
            "event_slug": slug,
            "outcome": "Yes",
            "outcome_index": made % 2,
            "name": "",
            "pseudonym": "Sample-Trader",
            "bio": "",
            "profile_image": "",
            "profile_image_optimized": "",
            "transaction_hash": tx_hash,
        }
        yield Row(wallet, second, tx_hash, msgspec.json.encode(row))


def lay_out(root: Path, wallets: int, each: int) -> None:
    """Segments of `wallets` wallets below `root`, and the claims on them.

    `plain` has the same files without the comment in the header, which DuckDB cannot read.
    """
    claims: list[Claim] = []
    for number in range(wallets):
        wallet = f"0x{number:040x}"
        cutter = Cutter(LAST + 1, POLYMARKET)
        drafts = (cutter.add(row) for row in rows(wallet, each, number))
        for draft in (*filter(None, drafts), cutter.finish(0)):
            name, data = TRADES.names.segment(wallet, draft.span), draft.payload
            assert data[3] == COMMENT
            plain = data[:3] + b"\0" + data[4:10] + data[data.index(b"\0", 10) + 1 :]
            for path, text in ((root / name, data), (root / "plain" / name, plain)):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text)
            claims.append(
                Claim(
                    segment=name,
                    wallet=wallet,
                    start=draft.span.start,
                    until=draft.span.until,
                    rows=draft.rows,
                    size=len(data),
                    crc32c=crc32c(data),
                    version="v",
                    source=POLYMARKET,
                )
            )
    claims.sort(key=lambda item: (item.wallet, item.start))
    (root / "claims.json").write_bytes(msgspec.json.encode(claims))


def run_combine(root: Path) -> None:
    """Combines all claims as batch 1."""
    claims = msgspec.json.decode((root / "claims.json").read_bytes(), type=list[Claim])
    made = combine(FeedStore(LocalStore(root), TRADES), claims, 1).manifest
    must(made is not None and made.rows == sum(each.rows for each in claims), "nothing was lost")


def run_copy(root: Path) -> None:
    """DuckDB's sorted copy of the same files."""
    files, target = str(root / "plain" / "trades" / "*" / "*.gz"), str(root / "copy.parquet")
    with duckdb.connect(config={"threads": CORES}) as db:
        db.execute(COPY, {"files": files, "target": target})


WAYS = {"ours": run_combine, "copy": run_copy}


def taken(way: str, root: Path) -> tuple[Taken, float]:
    """What one way takes without the start of its process; and the peak of that process in MB."""
    shutil.rmtree(root / "combined", ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.combine", way, str(root)]
    environ = {**clean_environ(), "PYTHONPATH": str(ROOT)}
    ended = run(command, environ=environ, cwd=root).checked()
    return msgspec.json.decode(ended.out, type=Taken), ended.peak


def compared(what: str, trades: int, rounds: int, root: Path) -> Iterator[Figure]:
    """Both ways by turns."""
    ours: list[tuple[Taken, float]] = []
    copies: list[tuple[Taken, float]] = []
    with kept():
        for _ in range(rounds):
            ours.append(taken("ours", root))
            copies.append(taken("copy", root))
    baseline = "DuckDB's sorted COPY"
    yield Figure(
        what=f"combine, {what}",
        unit="rows/s",
        samples=[trades / each.seconds for each, _ in ours],
        baseline=baseline,
        against=[trades / each.seconds for each, _ in copies],
        goal=">= 1.0",
    )
    yield Figure(
        what=f"processor time, {what}",
        unit="s",
        samples=[each.cpu for each, _ in ours],
        baseline=baseline,
        against=[each.cpu for each, _ in copies],
    )
    yield Figure(
        what=f"peak memory, {what}",
        unit="MB",
        samples=[peak for _, peak in ours],
        baseline=baseline,
        against=[peak for _, peak in copies],
    )


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """One wallet, and many."""
    lay_out(work / "one", 1, size.trades)
    yield from compared(
        f"one wallet, {size.trades:,} trades", size.trades, size.rounds, work / "one"
    )
    lay_out(work / "many", size.wallets, EACH)
    what, trades = f"{size.wallets} wallets of {EACH:,} trades", size.wallets * EACH
    yield from compared(what, trades, size.rounds, work / "many")


def _measured(way: str, root: Path) -> Taken:
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    WAYS[way](root)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(seconds, cpu)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in WAYS:
        print(msgspec.json.encode(_measured(sys.argv[1], Path(sys.argv[2]))).decode())
    else:
        bench("combine", SIZES, measure)
