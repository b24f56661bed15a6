"""A store and a warehouse, segments to put there, and a look at the table from outside."""

import gzip
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import duckdb
import msgspec

from polycopy_assets.batches.combine import combine
from polycopy_assets.batches.load import load
from polycopy_assets.batches.manifests import forget, read_batches
from polycopy_assets.batches.plan import InRecord, new_claims, pending
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import v2_row
from polycopy_assets.store.base import Store, crc32c
from polycopy_assets.trades.batch import Claim, Manifest
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import Segment, data_version
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.feed_table import FeedTable
from polycopy_assets_tests.of_trades import of_trades

WORLD = generate(5, 4, whales=4, whale_trades=120)
WALLETS = [wallet.lower() for wallet in WORLD.wallets()]
END = 2_000_000_000
_NAME = re.compile(r"[a-z0-9_]+")


class Sql(Protocol):
    """Runs a statement past our code.

    In it `{}` stands for the tables' prefix, `{table}` for the prefixed `table`, `{other}` for
    another dataset, and `@name` for a parameter.
    """

    def __call__(
        self, text: str, /, table: str = "", *, other: str = "", **parameters: Any
    ) -> list[tuple[Any, ...]]:
        """The rows that the statement returns."""
        ...


def addressed(text: str, prefix: str, table: str, other: str = "") -> str:
    """The statement with its tables' names; only a plain name becomes part of it.

    `{other}` stands for another dataset.
    """
    assert all(not name or _NAME.fullmatch(name) for name in (table, other)), (table, other)
    named = text.replace("{other}", other).replace("{table}", f"{prefix}{table}")
    return named.replace("{}", prefix)


def in_duckdb(
    db: duckdb.DuckDBPyConnection, text: str, table: str = "", **parameters: Any
) -> duckdb.DuckDBPyConnection:
    """Runs a statement, written as for `Sql`, on an open DuckDB file."""
    statement = re.sub(r"@(\w+)", r"$\1", addressed(text, "", table))
    return db.execute(statement, parameters or None)


class Bench:
    """`sql` runs a statement on the warehouse past our code."""

    def __init__(self, store: Store, warehouse: Warehouse, sql: Sql) -> None:
        self.store = of_trades(store)
        self.warehouse = warehouse
        self.sql = sql
        self.segments: dict[str, list[Segment]] = {}

    @property
    def table(self) -> FeedTable:
        """The table of the feed."""
        return self.warehouse.table(self.store.feed)

    def served(self, wallet: str, span: Interval) -> list[bytes]:
        """The wallet's rows in `span`, newest first."""
        trades = WORLD.truth(wallet)
        inside = [t for t in trades if span.start <= t.timestamp < span.until]
        return [msgspec.json.encode(v2_row(t)) for t in inside]

    def fetch(self, wallet: str, start: int = 0, until: int = END, **changes: Any) -> Segment:
        """What a fetch of this interval leaves: a segment, known to the wallet's record."""
        lines = self.served(wallet, Interval(start, until))
        payload = gzip.compress(b"".join(line + b"\n" for line in lines))
        self.store.create(self.store.names.segment(wallet, Interval(start, until)), payload)
        segment = Segment(
            folder=self.store.names.segments,
            wallet=wallet,
            start=start,
            until=until,
            rows=len(lines),
            size=len(payload),
            crc32c=crc32c(payload),
        )
        segment = msgspec.structs.replace(segment, **changes)
        self.segments.setdefault(wallet, []).append(segment)
        return segment

    @property
    def versions(self) -> dict[str, str]:
        """What the record would say."""
        return {wallet: data_version(found) for wallet, found in self.segments.items()}

    def claims(self, *force: str) -> list[Claim]:
        """What is new, and all of the wallets in `force`."""
        forget()
        held = read_batches(self.store).held
        wallets = sorted({*pending(self.versions, held), *force})
        records = [self._record(wallet) for wallet in wallets]
        return new_claims(self.store.names, records, held, force)

    def _record(self, wallet: str) -> InRecord:
        segments = self.segments[wallet]
        return InRecord(wallet, self.versions[wallet], segments, max(s.until for s in segments))

    def combine(self, *force: str) -> Manifest | None:
        """One batch of what is new, and all of the wallets in `force`."""
        number = len(read_batches(self.store).sound) + 1
        return combine(self.store, self.claims(*force), number).manifest

    def batch(self, *wallets: str) -> Manifest:
        """One batch of whole wallets."""
        for wallet in wallets:
            self.fetch(wallet)
        manifest = self.combine(*wallets)
        assert manifest is not None
        return manifest

    def load(self) -> list[tuple[int, int]]:
        """Loads what the table lacks: rows in and out, batch by batch."""
        forget()
        done = load(self.table, read_batches(self.store), self.store)
        return [(loaded.inserted, loaded.deleted) for _, loaded in done]

    def ids(self) -> Counter[tuple[str, str]]:
        """(wallet, transaction) of all rows of the table `trades`."""
        rows = self.sql("SELECT wallet_address, tx_hash FROM {}trades")
        return Counter((str(row[0]), str(row[1])) for row in rows)


def duckdb_sql(path: Path) -> Sql:
    """Statements on a DuckDB file."""

    def run(
        text: str, /, table: str = "", *, other: str = "", **parameters: Any
    ) -> list[tuple[Any, ...]]:
        assert not other, "a file has no datasets"
        with duckdb.connect(str(path)) as db:
            return in_duckdb(db, text, table, **parameters).fetchall()

    return run


def expected(wallets: Sequence[str]) -> Counter[tuple[str, str]]:
    """(wallet, transaction) of all rows that the table must hold."""
    return Counter((w, t.tx_hash) for w in wallets for t in WORLD.truth(w))


def middle(wallet: str) -> int:
    """A moment in the middle of the wallet's trades."""
    return WORLD.truth(wallet)[60].timestamp
