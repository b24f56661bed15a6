"""A DuckDB file as the warehouse; `file.py` opens it."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import duckdb

from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.ledger.facts import Checkpoint
from polycopy_assets.settings.memory import DEFAULT_MEMORY
from polycopy_assets.settings.shared import PRIVATE
from polycopy_assets.warehouse.base import DimensionTables, as_text
from polycopy_assets.warehouse.duckdb.boards import DuckDBBoards
from polycopy_assets.warehouse.duckdb.catalogue import columns
from polycopy_assets.warehouse.duckdb.claims_files import checkpoint_file, claims_table
from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable
from polycopy_assets.warehouse.duckdb.file import LOCK_WAIT_SECONDS, DuckDBFile
from polycopy_assets.warehouse.duckdb.opening import reading, writing
from polycopy_assets.warehouse.duckdb.results import as_utc, changed
from polycopy_assets.warehouse.duckdb.sql_files import only, sql
from polycopy_assets.warehouse.fills import Compared, compared
from polycopy_assets.warehouse.holdings import Holdings, holdings
from polycopy_assets.warehouse.joined import DIMENSION_TABLES
from polycopy_assets.warehouse.reading import Reader


class DuckDBWarehouse:
    """The tables in one DuckDB file; see `warehouse.base.Warehouse`.

    `feeds` are those whose tables are made and checked whenever it is written to.
    """

    def __init__(
        self,
        path: Path,
        *,
        feeds: Sequence[Feed] = (TRADES,),
        lock_wait: float = LOCK_WAIT_SECONDS,
        umask: int = PRIVATE,
        memory: int = DEFAULT_MEMORY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._file = DuckDBFile(
            path, lock_wait=lock_wait, umask=umask, memory=memory, clock=clock, sleep=sleep
        )
        self.path, self.uri = self._file.path, self._file.uri
        self._feeds = feeds

    def table(self, feed: Feed) -> DuckDBTable:
        """The table of `feed`."""
        return DuckDBTable(self._file, feed)

    @property
    def boards(self) -> DuckDBBoards:
        """The table `leaderboard`."""
        return DuckDBBoards(self._file)

    @property
    def dimensions(self) -> DimensionTables:
        """The tables `tokens` and `markets`."""
        # polars, as above.
        from polycopy_assets.warehouse.duckdb.dimensions import DuckDBDimensions  # noqa: PLC0415

        return DuckDBDimensions(self._file)

    def unmatched(self, until: Mapping[str, int], limit: int) -> Compared:
        """The trades that only one of the tables `trades` and `activity` has."""
        with claims_table(until) as path, reading(self._file) as db:
            if db is None or not all(columns(db, feed.table) for feed in (TRADES, ACTIVITY)):
                return compared([])
            statement = sql("unmatched", TRADES, fills=TRADES.table, ledger=ACTIVITY.table)
            parameters = {"claims": only(path), "limit": limit}
            return compared(db.execute(statement, parameters).fetchall())

    def below_zero(self, left_out: Collection[str], limit: int) -> Holdings:
        """The holdings by `activity` that are below nothing."""
        with reading(self._file) as db:
            if db is None:
                return Holdings(lacks=ACTIVITY.table)
            for name in (ACTIVITY.table, *sorted(DIMENSION_TABLES)):
                if not columns(db, name):
                    return Holdings(lacks=name)
            parameters = {"left_out": list(left_out), "limit": limit}
            statement = sql("below_zero", ACTIVITY, ledger=ACTIVITY.table)
            return holdings(db.execute(statement, parameters).fetchall())

    @property
    def cost(self) -> None:
        """Nothing is billed here."""
        return

    @property
    def reader(self) -> Reader:
        """What reads the file for people."""
        # polars: short commands do without it.
        from polycopy_assets.warehouse.duckdb.reader import DuckDBReader  # noqa: PLC0415

        return DuckDBReader(self._file)

    def check_writable(self, place: tuple[str, str] | None = None) -> None:  # noqa: ARG002
        """Opens the file and closes it again; raises WarehouseError if that cannot be done."""
        with self._open():
            pass

    def check_fits(self, place: tuple[str, str] | None = None) -> None:
        """Passes: what does not fit is known from opening the file, which others may hold."""

    def describe(self) -> None:
        """Nothing: it is done whenever the file is opened to write."""

    def add_traders(self, wallets: Iterable[str]) -> int:
        """Adds wallets that `traders` does not hold yet, whatever their case; returns how many."""
        with self._open() as db:
            return changed(db.execute(sql("add_traders"), {"wallets": list(wallets)}))

    def remove_traders(self, wallets: Collection[str]) -> int:
        """Deletes the rows of `traders` that name `wallets`; returns how many."""
        if not wallets or not self._file.exists():
            return 0
        with self._open() as db:
            return changed(db.execute(sql("remove_traders"), {"wallets": list(wallets)}))

    def traders(self) -> list[str | None]:
        """All values of `traders.wallet_address`, unchanged."""
        return [as_text(row[0]) for row in self._read("traders", "traders")]

    def traders_state(self) -> str:
        """A name for the state of the file: when it changed, and how large it is."""
        if not self._file.exists():
            return "none"
        stat = self.path.stat()
        return f"{stat.st_mtime_ns}-{stat.st_size}"

    def checkpoint(self) -> list[Checkpoint] | None:
        """All rows of `backfill_checkpoint`; None if there is no such table."""
        with reading(self._file) as db:
            if db is None or not columns(db, "backfill_checkpoint"):
                return None
            return [
                Checkpoint(as_text(row[0]), row[1], as_utc(row[2]), *row[3:])
                for row in db.execute(sql("checkpoint")).fetchall()
            ]

    def mark_complete(self, rows: Sequence[Checkpoint]) -> None:
        """Writes `rows` to `backfill_checkpoint`, in one transaction."""
        with checkpoint_file(rows) as path, self._open() as db:
            db.execute("BEGIN")
            db.execute(sql("mark_complete_known"), {"ticks": only(path)})
            db.execute(sql("mark_complete_new"), {"ticks": only(path)})
            db.execute("COMMIT")

    def _read(self, name: str, table: str) -> list[tuple[Any, ...]]:
        """The rows of statement `name`; none if there is no such table."""
        with reading(self._file) as db:
            if db is None or not columns(db, table):
                return []
            return db.execute(sql(name)).fetchall()

    def _open(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection to tables that exist and can hold our rows."""
        return writing(self._file, self._feeds)
