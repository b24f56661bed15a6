"""A purge: its batch takes all rows, and its deletion asks now and then whether it may go on."""

from pathlib import Path

import pytest

from polycopy_assets.errors import LockLost
from polycopy_assets.pipeline import purge
from polycopy_assets.trades.interval import Interval
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.bench import WALLETS, Bench, duckdb_sql, expected
from polycopy_assets_tests.of_trades import Directory, marker_name, segment_name, wallet_prefix

WALLET = "0x" + "a" * 40
PAST = 1_000
"""What a machine may say whose clock is wrong: before all trades."""

SEGMENTS = 120


def test_a_deletion_ends_soon_after_its_lock_is_lost_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store, checks = Directory(tmp_path), list[int]()
    for number in range(SEGMENTS):
        store.create(segment_name(WALLET, Interval(number, number + 1)), b"x")
    store.create(marker_name(WALLET), b"x")
    store.create(f"{wallet_prefix(WALLET)}notes.txt", b"of a person")
    monkeypatch.setattr(purge, "_CHECKED", 10)

    def check() -> None:
        checks.append(1)
        if len(checks) == 3:
            raise LockLost("another process may hold this lock now")

    with pytest.raises(LockLost):
        purge.delete_segments(store, [WALLET], check)
    left = len(list(store.list(wallet_prefix(WALLET))))
    assert SEGMENTS // 2 < left < SEGMENTS + 2 - 10
    assert purge.delete_segments(store, [WALLET], lambda: None) == left - 1
    (kept,) = store.list(wallet_prefix(WALLET))
    assert kept.name.endswith("notes.txt")


def test_rows_leave_the_table_whatever_the_clock_says(tmp_path: Path):
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
    bench = Bench(Directory(tmp_path / "store"), warehouse, duckdb_sql(warehouse.path))
    bench.batch(*WALLETS[:2])
    bench.load()
    number = purge.commit_emptiness(bench.store, [WALLETS[0]], bench.table.loaded_batches(), PAST)
    assert number == 2
    bench.load()
    assert bench.ids() == expected([WALLETS[1]])
