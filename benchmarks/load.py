"""Loading a batch into a table that has rows, beside a plain INSERT into an empty table.

The same Parquet files and the same DuckDB. Ours replaces what the batch claims, in one transaction,
which notes the batch: it must look for rows to replace among those that are there. The plain INSERT
looks for nothing. Each load runs in a process of its own, on a copy of the table.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import msgspec

from benchmarks.bench import bench, kept
from benchmarks.deployment import clean_environ, count_rows, must
from benchmarks.figures import Figure
from benchmarks.processes import ROOT, Ended, run
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.batch import Claim, Manifest, Part
from polycopy_assets.trades.interval import Interval
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

START = 1_700_000_000
SPAN = 10_000_000
"""Seconds that one batch covers; the next one follows."""

ROWS = """
SELECT
    '0x' || md5('w' || w) || md5('v' || w)[:8] AS wallet_address,
    tx_hash || '-0' AS id,
    make_timestamp(($begin + n * $step) * 1000000) AS timestamp,
    CASE WHEN hash(tx_hash) % 10 < 6 THEN 'BUY' ELSE 'SELL' END AS side,
    (hash(tx_hash, 1) % 999 + 1) / 1000.0 AS price,
    (hash(tx_hash, 2) % 1000000000 + 1) / 1000000.0 AS shares_normalized,
    (1000000000000000000 + market)::VARCHAR || md5(market::VARCHAR) AS token_id,
    'Yes' AS token_label,
    '0x' || md5(market::VARCHAR) || md5('c' || market) AS condition_id,
    tx_hash,
    NULL::VARCHAR AS order_hash,
    NULL::VARCHAR AS taker,
    'will-market-' || market || '-resolve-to-yes' AS market_slug,
    'Will market ' || market || ' resolve to Yes?' AS title,
    'polymarket' AS source,
    0::BIGINT AS sequence,
    0::BIGINT AS outcome_index,
    'will-market-' || market || '-resolve-to-yes' AS event_slug,
    price * shares_normalized AS notional_usdc,
    NULL::TIMESTAMP AS claim_start,
    NULL::TIMESTAMP AS claim_until
FROM (
    SELECT
        w,
        n,
        (w * 31 + n // 50) % 200 AS market,
        '0x' || md5(w || '-' || n || '-' || $begin) || md5(n || '+' || w || '-' || $begin)
            AS tx_hash
    FROM range($first, $last) AS wallets(w), range($each) AS trades(n)
)
ORDER BY wallet_address, timestamp
"""

INSERT = """
INSERT INTO trades BY NAME
SELECT
    * EXCLUDE (claim_start, claim_until)
    REPLACE (make_timestamp(epoch_us(timestamp)) AS timestamp)
FROM read_parquet($parts)
"""


class Size(NamedTuple):
    """Wallets, trades of one batch, batches that the table has before, and rounds."""

    wallets: int
    batch: int
    before: int
    rounds: int


SIZES = {"full": Size(400, 2_000_000, 4, 3), "quick": Size(100, 200_000, 4, 2)}
SIZES["smoke"] = Size(8, 4_000, 2, 1)
PART_ROWS = 45_000
"""Rows of a part, about: what a combine puts into one with the default memory."""


def written(size: Size, number: int, root: Path) -> Manifest:
    """Batch `number`: its files below `root`, and its manifest."""
    each, begin = size.batch // size.wallets, START + number * SPAN
    parts = []
    count = max(size.batch // PART_ROWS, 1)
    for part in range(count):
        first, last = (size.wallets * at // count for at in (part, part + 1))
        name = f"combined/parts/{number:08d}/{part}.parquet"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        bounds = {"first": first, "last": last, "each": each}
        times = {"begin": begin, "step": SPAN // (each + 1)}
        with duckdb.connect() as db:
            db.sql(ROWS, params={**bounds, **times}).write_parquet(str(path), compression="zstd")
        rows = (last - first) * each
        parts.append(Part(name=name, rows=rows, size=path.stat().st_size, crc32c="00000000"))
    with duckdb.connect() as db:
        files = [str(root / part.name) for part in parts]
        found = db.read_parquet(files).unique("wallet_address").fetchall()
    claims = [_claim(wallet, begin, each) for (wallet,) in sorted(found)]
    rows = sum(part.rows for part in parts)
    return Manifest(batch=number, rows=rows, parts=parts, claims=claims, schema=TRADES.schema)


def _claim(wallet: str, start: int, rows: int) -> Claim:
    span = Interval(start, start + SPAN)
    return Claim(
        segment=TRADES.names.segment(wallet, span),
        wallet=wallet,
        start=span.start,
        until=span.until,
        rows=rows,
        size=0,
        crc32c="00000000",
        version="1",
    )


def load_ours(root: Path, table: Path, manifest: Manifest) -> None:
    """Loads the batch as a load does."""
    loaded = DuckDBWarehouse(table).table(TRADES).load(manifest, LocalStore(root))
    must(loaded == (manifest.rows, 0), "every row of the batch is new")


def load_plain(root: Path, table: Path, manifest: Manifest) -> None:
    """Inserts the files of the batch."""
    with duckdb.connect(str(table)) as db:
        db.execute(INSERT, {"parts": [str(root / part.name) for part in manifest.parts]})


WAYS = {"ours": load_ours, "plain": load_plain}


def timed(way: str, root: Path, table: Path, number: int) -> tuple[float, Ended]:
    """Seconds of one load, without the start of its process; and that process."""
    command = [sys.executable, "-m", "benchmarks.load", way]
    ended = run(
        [*command, str(root), str(table), str(root / f"{number}.json")],
        environ={**clean_environ(), "PYTHONPATH": str(ROOT)},
        cwd=root,
    ).checked()
    return float(ended.out), ended


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """Both loads, alternating."""
    filled, empty, table = work / "filled.duckdb", work / "empty.duckdb", work / "table.duckdb"
    DuckDBWarehouse(empty).add_traders([])  # creates the tables
    for number in range(1, size.before + 2):
        manifest = written(size, number, work)
        (work / f"{number}.json").write_bytes(manifest.encode())
        if number <= size.before:
            load_ours(work, filled, manifest)
    ours, plain, peaks = [], [], []
    with kept():
        for _ in range(size.rounds):
            shutil.copyfile(filled, table)
            seconds, ended = timed("ours", work, table, size.before + 1)
            must(count_rows(table, "trades") == size.batch * (size.before + 1), "nothing was lost")
            ours.append(seconds)
            peaks.append(ended.peak)
            shutil.copyfile(empty, table)
            plain.append(timed("plain", work, table, size.before + 1)[0])
            must(count_rows(table, "trades") == size.batch, "nothing was lost")
    yield Figure(
        what=f"load {size.batch:,} into {size.batch * size.before:,}",
        unit="s",
        samples=ours,
        baseline="plain INSERT into an empty table",
        against=plain,
        goal="<= 1.3",
    )
    yield Figure(what="peak memory of that load", unit="MB", samples=peaks, goal="<= 512")


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in WAYS:
        root, table, noted = (Path(text) for text in sys.argv[2:])
        batch = msgspec.json.decode(noted.read_bytes(), type=Manifest)
        started = time.perf_counter()
        WAYS[sys.argv[1]](root, table, batch)
        print(time.perf_counter() - started)
    else:
        bench("load", SIZES, measure)
