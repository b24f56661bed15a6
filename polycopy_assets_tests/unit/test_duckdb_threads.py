"""A load fits into the memory, however many processors the machine has."""

from pathlib import Path

import polars as pl
import pytest

from polycopy_assets.batches.parts import write_part
from polycopy_assets.errors import WarehouseFull
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.feeds.trades.frame import TABLE_SCHEMA
from polycopy_assets.trades.batch import Claim, Manifest, Part
from polycopy_assets.warehouse.duckdb import attached
from polycopy_assets.warehouse.duckdb.file import DuckDBFile
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets.warehouse.feed_table import Loaded
from polycopy_assets_tests.of_trades import Directory, part_rows

WALLET = "0x" + "1" * 40
ROWS, PART_ROWS = 250_000, 25_000
"""With a thread for each of 64 processors, a load of 200,000 such rows failed; 120,000 fitted."""


def _part(store: Directory, first: int) -> Part:
    """A part of trades whose texts differ, like hashes, so that they need their full space."""
    number = pl.int_range(first, first + PART_ROWS)
    moment = pl.from_epoch(number + 1_600_000_000, time_unit="s").dt.replace_time_zone("UTC")
    of_type = {
        pl.String(): pl.format("0x{}", number.cast(pl.String).str.zfill(64)),
        pl.Float64(): number.cast(pl.Float64),
        pl.Int64(): number,
    }
    columns = [of_type.get(kind, moment).alias(name) for name, kind in TABLE_SCHEMA.items()]
    rows = pl.select(columns).with_columns(wallet_address=pl.lit(WALLET))
    return write_part(store, part_rows(rows), f"combined/{first}.parquet")


def _batch(store: Directory) -> Manifest:
    claim = Claim(
        wallet=WALLET,
        segment="",
        start=0,
        until=2**32,
        rows=ROWS,
        size=1,
        crc32c="",
        version="",
    )
    parts = [_part(store, first) for first in range(0, ROWS, PART_ROWS)]
    return Manifest(batch=1, rows=ROWS, parts=parts, claims=[claim])


def _threads(table: DuckDBFile) -> int:
    with table.connected(read_only=False) as db:
        (found,) = db.execute("SELECT current_setting('threads')").fetchall()
    return int(found[0])


@pytest.mark.parametrize("processors", [1, 64])
def test_a_load_needs_no_more_memory_with_more_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int
):
    monkeypatch.setattr(attached, "processors", lambda: processors)
    store, path = Directory(tmp_path / "store"), tmp_path / "w.duckdb"
    table = DuckDBWarehouse(path).table(TRADES)
    batch = _batch(store)
    assert table.load(batch, store) == Loaded(ROWS, 0)
    assert table.load(batch, store) == Loaded(ROWS, ROWS)
    assert _threads(DuckDBFile(path)) == min(processors, 2), "it was not done twice"


def test_a_load_that_does_not_fit_is_done_again_with_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(attached, "processors", lambda: 64)
    monkeypatch.setattr(attached, "THREAD_MB", 1)
    store, path = Directory(tmp_path / "store"), tmp_path / "w.duckdb"
    table = DuckDBWarehouse(path).table(TRADES)
    assert table.load(_batch(store), store) == Loaded(ROWS, 0)
    assert _threads(DuckDBFile(path)) == 1
    assert table.count_rows() == ROWS


def test_memory_that_is_not_enough_at_all_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(attached, "_SHARE", 0.02)
    store, path = Directory(tmp_path / "store"), tmp_path / "w.duckdb"
    table = DuckDBWarehouse(path).table(TRADES)
    with pytest.raises(WarehouseFull, match="more memory than POLYCOPY_MEMORY=512 gives it"):
        table.load(_batch(store), store)
    assert table.count_rows() == 0


@pytest.mark.parametrize(
    ("memory", "processors", "threads"),
    [(512, 64, 2), (512, 1, 1), (384, 64, 1), (4096, 64, 17), (4096, 8, 8)],
)
def test_duckdb_has_as_many_threads_as_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory: int,
    processors: int,
    threads: int,
):
    monkeypatch.setattr(attached, "processors", lambda: processors)
    assert _threads(DuckDBFile(tmp_path / "w.duckdb", memory=memory)) == threads
