"""A DuckDB file as the warehouse.

DuckDB is one process at a time: a connection is opened late, closed early, never held across a
network call, and waits a bounded time for whoever holds the file.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path

import duckdb
import polars as pl

from polycopy_assets.errors import WarehouseBusy, WarehouseError
from polycopy_assets.trades.batch import Claim, Manifest, claimed_intervals
from polycopy_assets.warehouse.base import Checkpoint, Duplicates, Loaded, Parts

LOCK_WAIT_SECONDS = 60.0
_LOCK_POLL_SECONDS = 0.2
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "memory_limit": "1GB",
}


def _sql(name: str) -> str:
    package = resources.files("polycopy_assets.warehouse") / "sql" / "duckdb"
    return (package / f"{name}.sql").read_text()


class DuckDBWarehouse:
    """The tables in one DuckDB file; see `warehouse.base.Warehouse`."""

    def __init__(
        self,
        path: Path,
        *,
        lock_wait: float = LOCK_WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.path = path.absolute()
        self.uri = str(self.path)
        self._lock_wait = lock_wait
        self._clock = clock
        self._sleep = sleep

    @property
    def cost(self) -> None:
        """Nothing costs anything here."""
        return

    def check_writable(self) -> None:
        """Opens the file and closes it again; raises WarehouseError if that cannot be done."""
        with self._open():
            pass

    def add_traders(self, wallets: Iterable[str]) -> int:
        """Adds wallets that `traders` does not hold yet, whatever their case; how many."""
        with self._open() as db:
            return _changed(db.execute(_sql("add_traders"), {"wallets": list(wallets)}))

    def traders(self) -> list[str | None]:
        """`traders.wallet_address`, as it stands there."""
        with self._open() as db:
            rows = db.execute("SELECT wallet_address FROM traders ORDER BY rowid").fetchall()
        return [row[0] for row in rows]

    def checkpoint(self) -> list[Checkpoint] | None:
        """All rows of `backfill_checkpoint`; None if there is no such table."""
        with self._open() as db:
            tables = db.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            if ("backfill_checkpoint",) not in tables:
                return None
            return [Checkpoint(*row) for row in db.execute(_sql("checkpoint")).fetchall()]

    def loaded_batches(self) -> set[int]:
        """Numbers of the batches that the table holds."""
        with self._open() as db:
            return {row[0] for row in db.execute("SELECT batch FROM polycopy_batches").fetchall()}

    def load(self, manifest: Manifest, parts: Parts) -> Loaded:
        """Replaces what the batch claims by its rows, in one transaction."""
        with ExitStack() as files:
            claims = files.enter_context(_claims_file(manifest.claims))
            paths = [str(files.enter_context(parts.local(p.name))) for p in manifest.parts]
            db = files.enter_context(self._open())
            db.execute(_sql("stage_claims"), {"claims": str(claims)})
            db.execute("BEGIN")
            deleted = _changed(db.execute(_sql("delete_claimed")))
            inserted = 0
            if paths:
                inserted = _changed(db.execute(_sql("insert_parts"), {"parts": paths}))
            if inserted != manifest.rows:
                raise WarehouseError(
                    f"batch {manifest.batch} has {manifest.rows} rows by its manifest,"
                    f" but {inserted} in its parts; nothing was loaded"
                )
            db.execute(_sql("record_batch"), {"batch": manifest.batch, "rows": manifest.rows})
            db.execute("COMMIT")
        return Loaded(inserted, deleted)

    def count_rows(self) -> int:
        """Rows in `trades`."""
        with self._open() as db:
            return _number(db.execute("SELECT count(*) FROM trades"))

    def rows_by_wallet(self) -> Mapping[str, int]:
        """Rows in `trades` for each `wallet_address`."""
        with self._open() as db:
            return dict(db.execute(_sql("rows_by_wallet")).fetchall())

    def duplicates(self, limit: int) -> Duplicates:
        """Ids that occur more than once in the table, at most `limit` of them."""
        with self._open() as db:
            return Duplicates(db.execute(_sql("duplicates"), {"limit": limit}).fetchall())

    @contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        db = self._connect()
        try:
            db.execute(_sql("create"))
            yield db
        except duckdb.Error as error:
            raise WarehouseError(f"{self.uri}: {error}") from error
        finally:
            db.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        deadline = self._clock() + self._lock_wait
        while True:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                return duckdb.connect(str(self.path), config=_CONFIG)
            except duckdb.IOException as error:
                if "Could not set lock on file" not in str(error):
                    raise WarehouseError(f"cannot open {self.uri}: {error}") from error
                if self._clock() >= deadline:
                    raise WarehouseBusy(
                        f"process {os.getpid()} waited {self._lock_wait:g} s"
                        f" for {self.uri}: {error}"
                    ) from error
                self._sleep(_LOCK_POLL_SECONDS)
            except (duckdb.Error, OSError) as error:
                raise WarehouseError(f"cannot open {self.uri}: {error}") from error


@contextmanager
def _claims_file(claims: Sequence[Claim]) -> Iterator[Path]:
    """The claimed intervals as a Parquet file that DuckDB can read."""
    intervals = claimed_intervals(claims)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "claims.parquet"
        pl.DataFrame(
            {
                "wallet_address": [wallet for wallet, _ in intervals],
                "start": [span.start for _, span in intervals],
                "until": [span.until for _, span in intervals],
            },
            schema={"wallet_address": pl.String, "start": pl.Int64, "until": pl.Int64},
        ).write_parquet(path)
        yield path


def _number(result: duckdb.DuckDBPyConnection) -> int:
    row = result.fetchone()
    if row is None:
        raise WarehouseError("a count came back without a row")
    return int(row[0])


def _changed(result: duckdb.DuckDBPyConnection) -> int:
    """How many rows a statement that changes rows has changed."""
    return _number(result)
