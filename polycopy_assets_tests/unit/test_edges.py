"""Odd input at the edges: refused, named, and never taken for something else."""

from pathlib import Path

import httpx
import pytest

from polycopy_assets.errors import (
    ConfigurationError,
    ContractBroken,
    ObjectExists,
    StoreError,
    WarehouseBusy,
    WarehouseError,
)
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.settings import read_settings
from polycopy_assets.sources.retry_after import retry_after
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.interval import Interval
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.of_trades import Polymarket
from polycopy_assets_tests.unit.test_sources import ask, polymarket
from polycopy_assets_tests.unit.test_walk import HISTORY, Memory, collect, row, second


def test_a_cursor_though_no_more_is_promised_breaks_polymarkets_contract():
    http = polymarket([], has_more=False, next_cursor="c2")
    with pytest.raises(ContractBroken):
        ask(Polymarket(http), Interval(0, 9))  # type: ignore[arg-type]


def test_a_transaction_at_two_times_is_found_out_in_the_next_segment_too():
    newer, older = row(190, 0), row(180, 2)._replace(tx_hash=row(190, 0).tx_hash)
    _, error = collect(Memory([newer, older], 3), segment_bytes=1)
    assert isinstance(error, ContractBroken)


def test_nothing_of_a_page_that_lacks_its_cursor_is_kept():
    drafts, error = collect(Memory(HISTORY, 3, second(cursor=None)), segment_bytes=1)
    assert isinstance(error, ContractBroken)
    assert min(draft.span.start for draft in drafts) >= HISTORY[2].timestamp + 1


def test_a_page_that_comes_again_two_pages_later_is_found_out():
    rows = [row(150, 2 * n) for n in range(9)]
    source = Memory(rows, 3, lambda n, page: page._replace(rows=rows[:3]) if n == 3 else page)
    assert isinstance(collect(source)[1], ContractBroken)


def test_an_object_below_an_object_is_an_error_and_not_a_name_that_is_taken(tmp_path: Path):
    store = LocalStore(tmp_path)
    store.create("a", b"x")
    with pytest.raises(StoreError) as error:
        store.create("a/b", b"y")
    assert not isinstance(error.value, ObjectExists)


@pytest.mark.parametrize("name", ["", ".", "a\0b"])
def test_what_is_no_object_name_is_refused_as_such(tmp_path: Path, name: str):
    with pytest.raises(StoreError, match="not an object name"):
        LocalStore(tmp_path).create(name, b"")


def test_a_local_file_that_is_gone_is_a_store_error(tmp_path: Path):
    with pytest.raises(StoreError):
        LocalStore(tmp_path / "store").create_from("a", tmp_path / "gone")


def test_a_damaged_file_in_a_folder_named_lock_is_not_waited_for(tmp_path: Path):
    (tmp_path / "lock").mkdir()
    path = tmp_path / "lock" / "w.duckdb"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(WarehouseError) as error:
        DuckDBWarehouse(path, lock_wait=0).table(TRADES).count_rows()
    assert not isinstance(error.value, WarehouseBusy)


def test_one_trader_in_two_cases_is_one(tmp_path: Path):
    assert DuckDBWarehouse(tmp_path / "w.duckdb").add_traders(["0xA", "0xa"]) == 1


def test_a_date_that_is_none_asks_for_no_wait():
    headers = {"Retry-After": "Mon, 23 Nov 99999 10:00:00 GMT"}
    assert retry_after(httpx.Headers(headers)) in (None, 120.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DAGSTER_HOME", "~no-such-user-here/x"),
        ("POLYCOPY_SOURCE_URL", "http://127.0.0.1:99999"),
        ("POLYCOPY_CONCURRENCY", "\u0661\u0666"),
    ],
)
def test_a_value_that_cannot_work_is_refused_in_one_line(name: str, value: str):
    with pytest.raises(ConfigurationError, match=f"^{name}="):
        read_settings({name: value})
