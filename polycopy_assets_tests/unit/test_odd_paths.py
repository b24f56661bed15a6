"""Directories with names that mean something in SQL, or in a pattern of files."""

import shutil
import tempfile
from pathlib import Path

import polars as pl
import pytest

from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.local import LocalStore
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets.warehouse.reading import Selection
from polycopy_assets_tests.bench import WALLETS, WORLD, Bench, duckdb_sql, expected

ODD = """o'brien "*' [x]; --"""
MATCHED = """o'brien "b' x; --"""
"""What `ODD` means as a pattern: a directory beside it with the same files."""


def test_quotes_and_wildcards_in_a_path_are_part_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home, temporary = tmp_path / ODD, tmp_path / ODD / "tmp"
    temporary.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = home / "w.duckdb"
    bench = Bench(LocalStore(home / "store"), DuckDBWarehouse(path), duckdb_sql(path))
    manifest = bench.batch(*WALLETS[:2])
    shutil.copytree(home, tmp_path / MATCHED)
    bench.load()
    assert bench.ids() == expected(WALLETS[:2])
    assert bench.table.load(manifest, bench.store) == (manifest.rows, manifest.rows)
    trades = {wallet: len(WORLD.truth(wallet)) for wallet in WALLETS[:2]}
    told = dict(bench.table.tally(dict.fromkeys(trades, 2**40)))
    assert {wallet: tally.inside for wallet, tally in told.items()} == trades
    assert bench.table.delete_mixed_case(dict.fromkeys(trades, 2**40)) == 0

    answer = home / "answer.parquet"
    with bench.warehouse.reader.ask("SELECT id FROM trades") as found:
        found.write_parquet(answer)
    assert len(pl.read_parquet(answer, glob=False)) == manifest.rows
    exported = home / "all.csv"
    assert bench.warehouse.reader.export(TRADES, Selection(), "csv", exported) == manifest.rows
    assert len(exported.read_text().splitlines()) == 1 + manifest.rows
    assert list(temporary.iterdir()) == []
