"""A table `trades` of somebody else: used if it loses nothing, or refused in one line."""

from pathlib import Path

import duckdb
import pytest

from polycopy_assets.errors import WarehouseError
from polycopy_assets.feeds.trades.frame import TABLE_SCHEMA
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.bench import WALLETS, WORLD, Bench, duckdb_sql, expected
from polycopy_assets_tests.of_trades import Directory

OURS = {
    "VARCHAR": "wallet_address id side token_id token_label condition_id tx_hash order_hash taker"
    " market_slug title source event_slug",
    "TIMESTAMP": "timestamp",
    "DOUBLE": "price shares_normalized notional_usdc",
    "BIGINT": "sequence outcome_index",
}
KINDS = {name: kind for kind, names in OURS.items() for name in names.split()}


def bench(path: Path, *statements: str) -> Bench:
    warehouse = DuckDBWarehouse(path / "w.duckdb")
    with duckdb.connect(str(warehouse.path)) as db:
        for statement in statements:
            db.execute(statement)
    return Bench(Directory(path / "store"), warehouse, duckdb_sql(warehouse.path))


def table(*more: str, **kinds: str) -> str:
    """The statement that makes `trades` with other types or demands for some columns."""
    columns = [f'"{name}" {kind}' for name, kind in {**KINDS, **kinds}.items()]
    return f"CREATE TABLE trades ({', '.join([*columns, *more])})"


def test_this_file_knows_all_columns():
    assert KINDS.keys() == TABLE_SCHEMA.keys()


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ({"token_id": "DOUBLE"}, "column token_id of table trades in {} is DOUBLE and should be"),
        (
            {"token_id": "HUGEINT"},
            "token_id of table trades in {} is HUGEINT and should be VARCHAR",
        ),
        ({"token_id": "JSON"}, "is JSON and should be VARCHAR"),
        ({"wallet_address": "BLOB"}, "is BLOB and should be VARCHAR"),
        ({"wallet_address": "VARCHAR COLLATE NOCASE"}, "has the collation NOCASE and should have"),
        ({"side": "ENUM('BUY', 'SELL')"}, "is ENUM('BUY', 'SELL') and should be VARCHAR"),
        ({"id": "UUID"}, "is UUID and should be VARCHAR"),
        ({"price": "FLOAT"}, "column price of table trades in {} is FLOAT and should be DOUBLE"),
        ({"price": "DECIMAL(10, 2)"}, "is DECIMAL(10,2) and should be DOUBLE"),
        ({"price": "VARCHAR"}, "is VARCHAR and should be DOUBLE"),
        ({"shares_normalized": "BIGINT"}, "is BIGINT and should be DOUBLE"),
        ({"timestamp": "DATE"}, "column timestamp of table trades in {} is DATE and should be"),
        ({"timestamp": "BIGINT"}, "is BIGINT and should be TIMESTAMP"),
        ({"timestamp": "VARCHAR"}, "is VARCHAR and should be TIMESTAMP"),
        ({"timestamp": "TIMESTAMP_NS"}, "is TIMESTAMP_NS and should be TIMESTAMP"),
        ({"sequence": "TINYINT"}, "is TINYINT and should be BIGINT"),
        ({"sequence": "DOUBLE"}, "is DOUBLE and should be BIGINT"),
        ({"title": "VARCHAR[]"}, "is VARCHAR[] and should be VARCHAR"),
        ({"order_hash": "VARCHAR NOT NULL"}, "column order_hash of table trades in {} is NOT NULL"),
        ({"mine": "INT NOT NULL"}, "column mine of table trades in {} is not one of ours and is"),
        (
            {"notional_usdc": "DOUBLE GENERATED ALWAYS AS (price * shares_normalized)"},
            "column notional_usdc of table trades in {} is generated and should be a plain column",
        ),
        ({"price": "DOUBLE CHECK (price <= 1)"}, "may refuse trades, because of CHECK"),
        ({"tx_hash": "VARCHAR UNIQUE"}, "may refuse trades, because of UNIQUE(tx_hash)"),
        ({"id": "VARCHAR PRIMARY KEY"}, "may refuse trades, because of PRIMARY KEY(id)"),
    ],
)
def test_a_table_that_would_lose_or_refuse_something_is_refused_in_one_line(
    tmp_path: Path, kinds: dict[str, str], told: str
):
    there = bench(tmp_path, table(**kinds))
    there.batch(WALLETS[0])
    line = told.format(there.warehouse.uri)
    for use in (there.warehouse.check_writable, there.load, lambda: there.table.tally({})):
        with pytest.raises(WarehouseError) as error:
            use()
        assert line in str(error.value)
        assert "\n" not in str(error.value)
    assert there.table.count_rows() == 0


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (
            ["CREATE TABLE kept (wallet_address VARCHAR)", "CREATE VIEW trades AS FROM kept"],
            "trades in {} is a view and should be a table",
        ),
        (
            [table(), "CREATE UNIQUE INDEX one ON trades (tx_hash)"],
            "because of CREATE UNIQUE INDEX one ON trades(tx_hash): it should",
        ),
        (
            [
                "CREATE TABLE m (slug VARCHAR PRIMARY KEY)",
                table("FOREIGN KEY (title) REFERENCES m"),
            ],
            "because of FOREIGN KEY (title) REFERENCES m(slug)",
        ),
        (
            [table().replace("trades (", "TRADES (").replace('"price" DOUBLE', '"PRICE" FLOAT')],
            "column price of table trades in {} is FLOAT",
        ),
    ],
)
def test_what_refuses_rows_from_beside_the_columns_is_named(
    tmp_path: Path, statements: list[str], told: str
):
    there = bench(tmp_path, *statements)
    with pytest.raises(WarehouseError) as error:
        there.warehouse.check_writable()
    assert told.format(there.warehouse.uri) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "statements",
    [
        [table(timestamp="TIMESTAMPTZ")],
        [table(timestamp="TIMESTAMP_S")],
        [table(timestamp="TIMESTAMP_MS", sequence="HUGEINT", outcome_index="HUGEINT")],
        [table(wallet_address="VARCHAR NOT NULL", id="VARCHAR NOT NULL", price="DOUBLE NOT NULL")],
        [table("PRIMARY KEY (wallet_address, id)")],
        [table(), "CREATE UNIQUE INDEX one ON trades (wallet_address, id)"],
        [table(), "CREATE INDEX slugs ON trades (market_slug)"],
        [table(mine="INT NOT NULL DEFAULT 7", loaded="TIMESTAMP DEFAULT now()")],
        [table(mine="DOUBLE GENERATED ALWAYS AS (price * 2)")],
        [table().replace("trades (", "TRADES (").replace('"price"', '"PRICE"')],
        [
            "CREATE SCHEMA other",
            table().replace("trades (", "other.trades (").replace("DOUBLE", "INT"),
        ],
        ["CREATE TABLE trades (id VARCHAR, wallet_address VARCHAR)"],
        ["CREATE TABLE trades (wallet_address VARCHAR, title VARCHAR COLLATE NOCASE)"],
    ],
)
def test_a_table_that_loses_nothing_is_used_as_it_is(tmp_path: Path, statements: list[str]):
    there = bench(tmp_path, *statements)
    manifest = there.batch(*WALLETS[:2])
    assert there.load() == [(manifest.rows, 0)]
    again = there.table.load(manifest, there.store)
    assert (again.inserted, again.deleted) == (manifest.rows, manifest.rows)
    assert there.ids() == expected(WALLETS[:2])
    rows = there.sql(
        "SELECT epoch(timestamp::TIMESTAMPTZ)::BIGINT, price, token_id FROM trades"
        f" WHERE wallet_address = '{WALLETS[0]}' ORDER BY ALL"
    )
    served = WORLD.truth(WALLETS[0])
    assert rows == sorted((t.timestamp, t.price, t.token_id) for t in served)
    tally = dict(there.table.tally({WALLETS[0]: 9_999_999_999}))
    assert tally[WALLETS[0]].ours == len(served)


def test_traders_may_have_more_columns(tmp_path: Path):
    there = bench(tmp_path, "CREATE TABLE traders (name VARCHAR, wallet_address VARCHAR)")
    assert there.warehouse.add_traders(["0xA"]) == 1
    assert there.warehouse.traders() == ["0xa"]
