"""What a backfill and a year of daily refreshes cost on Google Cloud, added up from list prices.

    python -m benchmarks.cost [--location multi|region] [--machines]

Nothing is measured here, and nothing is asked: the sums are upper bounds, from what the code does.
They leave out free tiers, discounts, and what clustering by wallet saves. `--machines` shows what
runs polycopy instead: a VM, or a nightly job, with and without a database.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from polycopy_assets.batches.combine import BATCH_ROWS
from polycopy_assets.batches.parts import Sizes
from polycopy_assets.settings.memory import DEFAULT_MEMORY
from polycopy_assets.trades.cutter import SMALL_BYTES
from polycopy_assets.warehouse.bigquery.feed_table import CHECK_BYTES

GIB, TIB, LEAST = 2**30, 2**40, 10 * 2**20

ROW = 560
"""Bytes of a trade in BigQuery: 19 columns, strings with 2 bytes more than their text."""

STORED = 100
"""Bytes of a trade in a segment; a combined file takes no more."""

KEY, TIME, SOURCE = 44, 8, 12
"""Bytes of a wallet, of a time and of the name of a source."""

LINE = 715
"""Bytes of a trade as served; parts are cut by them."""

TRADES_A_DAY = 10
"""Trades of a wallet on a day on which it has any."""

DAYS, WEEKS, LONG_TERM = 365, 52, 90 / 365


class Prices(NamedTuple):
    """List prices in US dollars; operations for each, storage for a GiB and a month."""

    create: float
    read: float
    bucket: float
    replication: float
    query_tib: float = 6.25
    table: float = 0.02
    unchanged: float = 0.01


PRICES = {
    "multi": Prices(create=0.01 / 1000, read=0.0004 / 1000, bucket=0.026, replication=0.02),
    "region": Prices(create=0.005 / 1000, read=0.0004 / 1000, bucket=0.020, replication=0.0),
}


class Case(NamedTuple):
    """Trades at the beginning, wallets, and new trades a day."""

    trades: int
    wallets: int
    new: int

    @property
    def title(self) -> str:
        """Its column of the table."""
        return f"{self.trades // 10**6:,} million trades, {self.wallets:,} wallets"


CASES = [
    Case(trades, wallets, trades // 2000)
    for trades in (100_000_000, 1_000_000_000)
    for wallets in (3_000, 100_000)
]


def once(case: Case, prices: Prices) -> Iterator[tuple[str, float]]:
    """The sums of the first backfill, in US dollars."""
    batches = math.ceil(case.trades / BATCH_ROWS)
    segments = case.wallets + case.trades * STORED / SMALL_BYTES
    files = case.trades / (Sizes.of(DEFAULT_MEMORY).part / LINE) + 3 * batches
    yield (
        "objects: a listing a wallet, segments, parts, claims, manifests, summaries",
        (case.wallets + segments + files) * prices.create + (segments + files) * prices.read,
    )
    yield (
        "replication of segments and parts",
        2 * case.trades * STORED / GIB * prices.replication,
    )
    yield "loads: what is staged is read once", _queried(case.trades * ROW, prices)
    counted = sum((number * BATCH_ROWS + BATCH_ROWS) * (KEY + TIME) for number in range(batches))
    yield "loads: rows to delete are looked for in the whole table", _queried(counted, prices)
    yield (
        "loads: notes, checks for duplicates, trades by month",
        _queried(batches * (4 * LEAST + 2 * CHECK_BYTES), prices),
    )


def a_year(case: Case, prices: Prices) -> Iterator[tuple[str, float]]:
    """The sums of a year of daily refreshes, in US dollars."""
    with_news = min(case.wallets, case.new // TRADES_A_DAY)
    files = math.ceil(case.new / (Sizes.of(DEFAULT_MEMORY).part / LINE)) + 4
    unions = with_news / 16
    yield (
        "objects: a listing a wallet, a segment a wallet with news, unions",
        DAYS
        * (
            (case.wallets + with_news + unions + files) * prices.create
            + (2 * with_news + files) * prices.read
        ),
    )
    yield (
        "loads: what is staged is read once",
        DAYS * _queried(max(case.new * ROW, 2 * LEAST), prices),
    )
    month = 30 * case.new * (KEY + TIME)
    yield (
        "loads: rows to delete are looked for in this month",
        DAYS * _queried(max(month, 2 * LEAST), prices),
    )
    yield (
        "loads: notes, checks for duplicates, trades by month",
        DAYS * _queried(4 * LEAST + 2 * CHECK_BYTES, prices),
    )
    middle = case.trades + DAYS * case.new / 2
    yield (
        "a reconciliation a week: every row is counted",
        WEEKS * _queried(middle * (KEY + TIME + SOURCE), prices),
    )
    yield "bucket: segments and parts", 12 * 2 * middle * STORED / GIB * prices.bucket
    old = case.trades * ROW / GIB * (LONG_TERM * prices.table + (1 - LONG_TERM) * prices.unchanged)
    new = DAYS * case.new / 2 * ROW / GIB * prices.table
    yield "table: old months unchanged after 90 days", 12 * (old + new)


def _queried(size: float, prices: Prices) -> float:
    return size / TIB * prices.query_tib


def table(cases: Sequence[Case], prices: Prices) -> str:
    """The sums as a Markdown table."""
    lines = ["| US dollars | " + " | ".join(case.title for case in cases) + " |"]
    lines.append("|---" * (len(cases) + 1) + "|")
    for what, sums, total in (("first backfill", once, "once"), ("a year", a_year, "a year")):
        found = [list(sums(case, prices)) for case in cases]
        lines += [
            _line(f"{what}; {row[0][0]}", [value for _, value in row])
            for row in zip(*found, strict=True)
        ]
        lines.append(_line(f"**{total}**", [sum(v for _, v in each) for each in found], bold=True))
    witness = [DAYS * _queried(case.trades * (KEY + TIME + SOURCE), prices) for case in cases]
    lines.append(_line("if `daily_witness` is on, a year more", witness))
    return "\n".join(lines)


def _line(what: str, values: Sequence[float], *, bold: bool = False) -> str:
    mark = "**" if bold else ""
    return f"| {what} | " + " | ".join(f"{mark}{value:,.2f}{mark}" for value in values) + " |"


HOURS, NIGHTS = 730, 30
REQUESTS = 20
"""Requests a second that the default budget allows; a refresh asks for a page a wallet."""

REST = 180
"""Seconds of a night beside the requests: start, combine, load."""


class Machines(NamedTuple):
    """List prices in US dollars, us-central1; for an hour, a second, or a month as named."""

    vm_hour: float = 0.016751
    disk_gib: float = 0.10
    address_hour: float = 0.005
    cpu_second: float = 0.000018
    gib_second: float = 0.000002
    schedule: float = 0.10
    secret: float = 0.06
    image_gib: float = 0.10
    database_hour: float = 0.0105
    database_gib: float = 0.17
    database_backup_gib: float = 0.08


def a_month(wallets: int, prices: Machines) -> Iterator[tuple[str, float]]:
    """The sums of what runs polycopy every night, in US dollars a month."""
    yield (
        "VM: e2-small, 20 GiB of disk, an address",
        HOURS * (prices.vm_hour + prices.address_hour) + 20 * prices.disk_gib,
    )
    seconds = NIGHTS * (wallets / REQUESTS + REST)
    yield "Cloud Run: 1 processor, 1 GiB", seconds * (prices.cpu_second + prices.gib_second)
    yield "Cloud Run: schedule, 1 GiB of images", prices.schedule + prices.image_gib
    yield (
        "Cloud SQL: db-f1-micro, 10 GiB, as much backup, a secret",
        HOURS * prices.database_hour
        + 10 * (prices.database_gib + prices.database_backup_gib)
        + prices.secret,
    )


def machines() -> str:
    """The sums of `a_month` as a Markdown table."""
    sizes = (3_000, 100_000)
    lines = ["| US dollars a month | " + " | ".join(f"{size:,} wallets" for size in sizes) + " |"]
    lines.append("|---" * (len(sizes) + 1) + "|")
    found = [list(a_month(size, Machines())) for size in sizes]
    lines += [_line(row[0][0], [value for _, value in row]) for row in zip(*found, strict=True)]
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--location", choices=PRICES, default="multi")
    parser.add_argument("--machines", action="store_true")
    chosen = parser.parse_args()
    print(machines() if chosen.machines else table(CASES, PRICES[chosen.location]))


if __name__ == "__main__":
    main()
