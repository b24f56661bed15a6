"""How fast segments become sorted Parquet and rows of the table, and how much memory that takes.

    python benchmarks/combine.py [TRADES] [REPEATS]

Three parts, each beside a baseline in the same run, every measurement in a process of its own:

- combine: one wallet of TRADES trades, and 1,000 trades in each of many wallets; the baseline is
  DuckDB's sorted `COPY` of the same files with the same number of threads;
- load: a batch into a table that holds four times as many rows; the baseline is a plain `INSERT` of
  the same files into an empty table;
- memory: the peak while one wallet of TRADES and of a tenth of it is combined and loaded.
"""

import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import msgspec

from polycopy_assets.batches.combine import combine
from polycopy_assets.demo.generate import LAST
from polycopy_assets.settings.memory import DEFAULT_MEMORY
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.batch import Claim, Manifest, manifest_name
from polycopy_assets.trades.cutter import Cutter
from polycopy_assets.trades.page import Row
from polycopy_assets.trades.segment import segment_name
from polycopy_assets.trades.shapes import POLYMARKET
from polycopy_assets.warehouse.duckdb.sql_files import sql
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

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
INSERT = """
INSERT INTO trades BY NAME
SELECT * EXCLUDE (claim_start, claim_until)
REPLACE (make_timestamp(epoch_us("timestamp")) AS "timestamp")
FROM read_parquet($files)
"""
COMMENT = 0x10


class Measured(msgspec.Struct):
    """Seconds of the wall clock and of the processors, and the peak of memory in MB."""

    seconds: float
    cpu: float
    peak: float


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
            name, data = segment_name(wallet, draft.span), draft.payload
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
    assert combine(LocalStore(root), claims, 1).manifest is not None


def run_copy(root: Path) -> None:
    """DuckDB's sorted copy of the same files."""
    files, target = str(root / "plain" / "trades" / "*" / "*.gz"), str(root / "copy.parquet")
    with duckdb.connect(config={"threads": CORES}) as db:
        db.execute(COPY, {"files": files, "target": target})


def run_fill(root: Path) -> None:
    """A table with four times the rows of the batch, of wallets of their own."""
    with duckdb.connect(str(root / "filled.duckdb"), config={"threads": CORES}) as db:
        db.execute(sql("create"))
        for _ in range(4):
            db.execute(INSERT, {"files": _parts(root)})
        db.execute("UPDATE trades SET wallet_address = 'another'")


def run_load(root: Path) -> None:
    """Loads batch 1 into the table."""
    store = LocalStore(root)
    manifest = Manifest.decode(store.read(manifest_name(1)))
    loaded = DuckDBWarehouse(root / "work.duckdb").load(manifest, store, "store")
    assert loaded.inserted == manifest.rows


def run_insert(root: Path) -> None:
    """A plain insert of the same files into an empty table."""
    with duckdb.connect(str(root / "work.duckdb"), config={"threads": CORES}) as db:
        db.execute(sql("create"))
        db.execute(INSERT, {"files": _parts(root)})


def run_both(root: Path) -> None:
    """Combines, and loads into an empty table."""
    run_combine(root)
    run_load(root)


STEPS = {
    step.__name__: step
    for step in (run_combine, run_copy, run_fill, run_load, run_insert, run_both)
}


def _parts(root: Path) -> list[str]:
    manifest = Manifest.decode(LocalStore(root).read(manifest_name(1)))
    return [str(root / part.name) for part in manifest.parts]


def child(step: str, root: Path) -> None:
    """One step in this process; prints what it took."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    STEPS[step](root)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
    print(msgspec.json.encode(Measured(seconds, cpu, peak)).decode())


def measured(step: str, root: Path) -> Measured:
    """One step in a process of its own."""
    for each in ("combined", "work.duckdb"):
        if step in {"run_combine", "run_both"} or each != "combined":
            subprocess.run(["rm", "-rf", str(root / each)], check=True)
    if step == "run_load":
        subprocess.run(["cp", root / "filled.duckdb", root / "work.duckdb"], check=True)
    command = [sys.executable, __file__, "--step", step, str(root)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return msgspec.json.decode(said.stdout.splitlines()[-1], type=Measured)


def compare(  # noqa: PLR0917 - each is something else
    what: str, ours: str, theirs: str, root: Path, number: int, repeats: int
) -> None:
    """Both steps by turns; prints medians, spread and how much of their time ours takes."""
    pairs = [(measured(ours, root), measured(theirs, root)) for _ in range(repeats)]
    print(f"{what}, {number:,} trades")
    for name, found in (("ours", [a for a, _ in pairs]), ("baseline", [b for _, b in pairs])):
        print(f"  {name:<10}{_spread(found, number)}")
    for field in ("seconds", "cpu", "peak"):
        ratios = sorted(getattr(a, field) / getattr(b, field) for a, b in pairs)
        print(
            f"  ours ÷ baseline, {field:<8}{statistics.median(ratios):6.2f}"
            f"  ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


def _spread(found: Sequence[Measured], number: int) -> str:
    times = sorted(each.seconds for each in found)
    middle = statistics.median(times)
    return (
        f"{middle:7.2f} s ({times[0]:.2f} to {times[-1]:.2f}) {number / middle:>10,.0f} rows/s"
        f"{statistics.median(each.cpu for each in found):7.2f} s CPU"
        f"{max(each.peak for each in found):6.0f} MB"
    )


def main(trades: int = 1_000_000, repeats: int = 5) -> None:
    """Measures and prints."""
    print(
        f"{platform.machine()}, {CORES} cores, Python {platform.python_version()},"
        f" {DEFAULT_MEMORY} MB, {repeats} repeats"
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        many = max(trades // 2000, 1)
        lay_out(root / "whale", 1, trades)
        lay_out(root / "many", many, 1000)
        lay_out(root / "tenth", 1, trades // 10)
        compare("combine, one wallet", "run_combine", "run_copy", root / "whale", trades, repeats)
        compare(
            "combine, many wallets", "run_combine", "run_copy", root / "many", many * 1000, repeats
        )
        measured("run_combine", root / "whale")
        measured("run_fill", root / "whale")
        compare("load", "run_load", "run_insert", root / "whale", trades, repeats)
        print("memory: combine and load in one process")
        for name, number in (("tenth", trades // 10), ("whale", trades)):
            print(f"  {number:>10,} trades{measured('run_both', root / name).peak:7.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        main(*map(int, sys.argv[1:]))
