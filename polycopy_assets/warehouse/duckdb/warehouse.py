"""A DuckDB file as the warehouse; `file.py` opens it."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from polycopy_assets.errors import BatchBroken, WarehouseError, WarehouseFull, WrongTable
from polycopy_assets.ledger.facts import Checkpoint, Tally
from polycopy_assets.settings.memory import DEFAULT_MEMORY
from polycopy_assets.settings.shared import PRIVATE
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.trades.shapes import SHAPES
from polycopy_assets.warehouse.base import (
    DimensionTables,
    Duplicates,
    Held,
    Loaded,
    Months,
    Parts,
    as_text,
)
from polycopy_assets.warehouse.duckdb.batches_table import noted
from polycopy_assets.warehouse.duckdb.boards import DuckDBBoards
from polycopy_assets.warehouse.duckdb.catalogue import any_row, columns, set_moment
from polycopy_assets.warehouse.duckdb.claims_files import checkpoint_file, claims_file, claims_table
from polycopy_assets.warehouse.duckdb.file import LOCK_WAIT_SECONDS, DuckDBFile
from polycopy_assets.warehouse.duckdb.relations import describe
from polycopy_assets.warehouse.duckdb.results import as_utc, changed
from polycopy_assets.warehouse.duckdb.sql_files import only
from polycopy_assets.warehouse.duckdb.sql_files import sql as _sql
from polycopy_assets.warehouse.reading import Reader


class DuckDBWarehouse:
    """The tables in one DuckDB file; see `warehouse.base.Warehouse`."""

    worth_loading = 125_000

    def __init__(
        self,
        path: Path,
        *,
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
            return changed(db.execute(_sql("add_traders"), {"wallets": list(wallets)}))

    def remove_traders(self, wallets: Collection[str]) -> int:
        """Deletes the rows of `traders` that name `wallets`; returns how many."""
        if not wallets or not self._file.exists():
            return 0
        with self._open() as db:
            return changed(db.execute(_sql("remove_traders"), {"wallets": list(wallets)}))

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
        with self._reading() as db:
            if db is None or not columns(db, "backfill_checkpoint"):
                return None
            return [
                Checkpoint(as_text(row[0]), row[1], as_utc(row[2]), *row[3:])
                for row in db.execute(_sql("checkpoint")).fetchall()
            ]

    def mark_complete(self, rows: Sequence[Checkpoint]) -> None:
        """Writes `rows` to `backfill_checkpoint`, in one transaction."""
        with checkpoint_file(rows) as path, self._open() as db:
            db.execute("BEGIN")
            db.execute(_sql("mark_complete_known"), {"ticks": only(path)})
            db.execute(_sql("mark_complete_new"), {"ticks": only(path)})
            db.execute("COMMIT")

    def held(self) -> Held:
        """The batches that the table holds, and the store they come from."""
        with self._reading() as db:
            if db is None or not columns(db, "polycopy_batches"):
                return Held()
            found = noted(db, self.uri)
            filled = bool(columns(db, "trades")) and any_row(db, "any_trade")
        lost = not filled and any(item.rows for item in found)
        stores = [item.store for item in found if item.store]
        return Held(
            {} if lost else {item.batch: item.rows for item in found},
            stores[-1] if stores else None,
        )

    def loaded_batches(self) -> set[int]:
        """Numbers of the batches that the table holds."""
        return set(self.held().batches)

    def take_over(self, store: str) -> None:
        """Marks the batches in `polycopy_batches` as those of the store with id `store`."""
        with self._open() as db:
            db.execute(_sql("take_over"), {"store": store})

    def forget_batches(self) -> None:
        """Empties `polycopy_batches`."""
        with self._open() as db:
            db.execute(_sql("forget_from"), {"batch": None})

    def load(
        self, manifest: Manifest, parts: Parts, of: str | None = None, digest: str | None = None
    ) -> Loaded:
        """Replaces what the batch claims with its rows, in one transaction.

        A batch whose files have large row groups may not fit into the memory with several threads.
        """
        del digest  # not kept
        try:
            return self._load(manifest, parts, of)
        except WarehouseFull:
            with self._file.connected(read_only=False) as db:
                db.execute(_sql("one_thread"))  # for the rest of this process
            return self._load(manifest, parts, of)

    def _load(self, manifest: Manifest, parts: Parts, of: str | None) -> Loaded:
        with ExitStack() as files:
            claims = files.enter_context(claims_file(manifest.claims))
            paths = [only(files.enter_context(parts.local(p.name))) for p in manifest.parts]
            db = files.enter_context(self._open())
            db.execute(_sql("stage_claims"), {"claims": only(claims)})
            db.execute("BEGIN")
            self._refuse_others(db, of)
            deleted = changed(db.execute(_sql("delete_claimed")))
            inserted = 0
            if paths:
                inserted = changed(db.execute(_sql("insert_parts"), {"parts": paths}))
            if inserted != manifest.rows:
                why = (
                    f"{inserted:,} of {counted(manifest.rows, 'row')} are in its parts and claimed"
                )
                raise BatchBroken(manifest.batch, why)
            new = {"batch": manifest.batch, "rows": manifest.rows, "store": of}
            db.execute(_sql("forget_from"), {"batch": manifest.batch})
            db.execute(_sql("record_batch"), new)
            db.execute(_sql("note_empty"))
            db.execute("COMMIT")
        return Loaded(inserted, deleted)

    def _refuse_others(self, db: duckdb.DuckDBPyConnection, of: str | None) -> None:
        """Raises WrongTable if a batch of another store than `of` has been loaded meanwhile."""
        other = db.execute(_sql("other_store"), {"store": of}).fetchone()
        if other:
            raise WrongTable(self.uri, other[0], of)

    def count_rows(self) -> int:
        """Rows in `trades`."""
        return sum(row[0] for row in self._read("count_rows", "trades"))

    def has_rows(self, number: int) -> bool:
        """Whether `trades` has at least `number` rows."""
        return self.count_rows() >= number

    def rows_by_wallet(self) -> Mapping[str, int]:
        """Rows in `trades` for each `wallet_address`."""
        return dict(self._read("rows_by_wallet", "trades"))

    def rows_by_month(self) -> Months:
        """Rows in `trades` for each month."""
        return Months(dict(self._read("rows_by_month", "trades")))

    def tally(
        self, claims: Mapping[str, int], *, by_id: bool = False
    ) -> list[tuple[str | None, Tally]]:
        """The rows of `trades`, counted for each `wallet_address`, whatever its case."""
        del by_id  # always
        with claims_table(claims) as path, self._reading() as db:
            found = columns(db, "trades") if db is not None else set[str]()
            if db is None or not found:
                return []
            self._check_table(db)
            set_moment(db)
            statement = _sql("tally" if "source" in found else "tally_without_source")
            rows = db.execute(statement, {"claims": only(path)}).fetchall()
        return [(row[0], Tally(*row[1:])) for row in rows]

    def delete_mixed_case(self, claims: Mapping[str, int]) -> int:
        """Deletes the rows inside `claims` whose address is not in lower case; returns how many."""
        with claims_table(claims) as path, self._open() as db:
            return changed(db.execute(_sql("delete_mixed_case"), {"claims": only(path)}))

    def loaded_rows(self, wallets: Collection[str]) -> Mapping[str, int]:
        """How many rows of `trades` we loaded for each of `wallets` that has any."""
        with self._reading() as db:
            if not wallets or db is None or "source" not in columns(db, "trades"):
                return {}
            return dict(db.execute(_sql("loaded_rows"), _whose(wallets)).fetchall())

    def delete_loaded(self, wallets: Collection[str]) -> int:
        """Deletes the rows that `loaded_rows` counts; returns how many."""
        with self._open() as db:
            return changed(db.execute(_sql("delete_loaded"), _whose(wallets)))

    def duplicates(self, limit: int) -> Duplicates:
        """Ids that occur more than once in the table, at most `limit` of them."""
        return Duplicates(self._read("duplicates", "trades", {"limit": limit}))

    def _read(
        self, name: str, table: str, parameters: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        """The rows of statement `name`; none if there is no such table."""
        with self._reading() as db:
            if db is None or not columns(db, table):
                return []
            return db.execute(_sql(name), parameters or {}).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection | None]:
        """A connection that cannot change anything; None if there is no file yet."""
        if not self._file.exists():
            yield None
            return
        with self._file.connected(read_only=True) as db:
            yield db

    @contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection to tables that exist and can hold our rows."""
        with self._file.connected(read_only=False) as db:
            self._check_table(db)
            db.execute(_sql("create"))
            describe(db)
            set_moment(db)
            yield db

    def _check_table(self, db: duckdb.DuckDBPyConnection) -> None:
        # polars: what only reads a count does without it.
        from polycopy_assets.warehouse.duckdb.table import wrong_with  # noqa: PLC0415

        wrong = wrong_with(db, self.uri)
        if wrong:
            raise WarehouseError(wrong)


def _whose(wallets: Collection[str]) -> dict[str, list[str]]:
    return {"wallets": list(wallets), "sources": list(SHAPES)}
