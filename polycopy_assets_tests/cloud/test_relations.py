"""What people read of the tables: comments, and views, on every warehouse."""

import datetime as dt
import logging
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from polycopy_assets.demo.world import Trade
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.columns import TRADES, VIEWS
from polycopy_assets.feeds.trades.feed import TRADES as FEED
from polycopy_assets.feeds.trades.frame import TABLE_SCHEMA
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets.warehouse.tables import tables
from polycopy_assets_tests.bench import WALLETS, WORLD, Bench
from polycopy_assets_tests.cloud.batches import CAP, GoogleBench, Place, dataset_of
from polycopy_assets_tests.fakes.bigquery import JobError, server

Said = dict[str, tuple[str | None, dict[str, str | None]]]


def said(bench: Bench) -> Said:
    """What the catalogue says of each table and view, and of their columns."""
    if isinstance(bench, GoogleBench):
        listed = bench.google.list_tables(bench.dataset)
        found = [bench.google.get_table(item.reference) for item in listed]
        return {
            t.table_id: (t.description, {f.name: f.description for f in t.schema}) for t in found
        }
    columns: dict[str, dict[str, str | None]] = defaultdict(dict)
    for table, column, comment in bench.sql(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
    ):
        columns[table][column] = comment
    comments = bench.sql(
        "SELECT table_name, comment FROM duckdb_tables() UNION ALL"
        " SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
    )
    return {table: (comment, columns[table]) for table, comment in comments}


def of_newer(bench: Bench, feed: Feed) -> Warehouse:
    """The warehouse of the bench, opened by a version whose trades are `feed`."""
    if isinstance(bench, GoogleBench):
        google = bench.google
        dataset = Dataset(google, google.project, bench.dataset, max_bytes_billed=CAP, labels={})
        return BigQueryWarehouse(dataset, feeds=(feed,))
    return DuckDBWarehouse(Path(bench.warehouse.uri), feeds=(feed,))


def sums(trades: list[Trade]) -> tuple[Any, ...]:
    """What the views say of trades, from `trades` to `net_cash_usdc`."""
    bought = sum(t.price * t.size for t in trades if t.side == "BUY")
    sold = sum(t.price * t.size for t in trades if t.side == "SELL")
    sides = Counter(t.side for t in trades)
    return (
        len(trades),
        sides["BUY"],
        sides["SELL"],
        *(pytest.approx(number) for number in (bought + sold, bought, sold, sold - bought)),
    )


def rows(bench: Bench, view: str) -> dict[Any, tuple[Any, ...]]:
    """The rows of a view, by its first column."""
    return {row[0]: row[1:] for row in bench.sql("SELECT * FROM {table}", view)}


def epochs(row: tuple[Any, ...]) -> list[int]:
    """The last two values of a row, which are times."""
    return [
        int((each if each.tzinfo else each.replace(tzinfo=dt.UTC)).timestamp()) for each in row[-2:]
    ]


def test_views_add_up_what_was_served_and_everything_is_explained(
    bench: Bench, request: pytest.FixtureRequest
):
    bench.warehouse.check_writable()
    bench.batch(*WALLETS)
    bench.load()
    bench.warehouse.describe()
    trades = [trade for wallet in WALLETS for trade in WORLD.truth(wallet)]
    by_wallet, by_market, by_day = (defaultdict[Any, list[Trade]](list) for _ in range(3))
    for trade in trades:
        by_wallet[trade.wallet].append(trade)
        by_market[trade.condition_id].append(trade)
        by_day[dt.datetime.fromtimestamp(trade.timestamp, dt.UTC).date(), trade.wallet].append(
            trade
        )
    wallets = rows(bench, "wallet_summary")
    assert wallets.keys() == by_wallet.keys()
    for wallet, own in by_wallet.items():
        assert wallets[wallet][:8] == (*sums(own), len({t.condition_id for t in own}))
        assert epochs(wallets[wallet]) == [own[-1].timestamp, own[0].timestamp]
    markets = rows(bench, "market_summary")
    assert markets.keys() == by_market.keys()
    for market, own in by_market.items():
        assert markets[market][2:10] == (*sums(own), len({t.wallet for t in own}))
        assert markets[market][1] in {t.title for t in own}
        assert epochs(markets[market]) == [
            min(t.timestamp for t in own),
            max(t.timestamp for t in own),
        ]
    days = {(day, w): rest for day, w, *rest in bench.sql("SELECT * FROM {}daily_trades")}
    assert {key: tuple(row) for key, row in days.items()} == {
        key: (*sums(own), len({t.condition_id for t in own})) for key, own in by_day.items()
    }
    if request.node.callspec.params["bench"] == "bqemulator":
        return  # it says nothing of the columns of a view
    catalogue = said(bench)
    assert catalogue.keys() == {*tables([FEED]), *VIEWS}
    for name, (meaning, columns) in catalogue.items():
        relation = {**tables([FEED]), **VIEWS}[name]
        assert (meaning or "").startswith(relation.meaning)
        expected = {column: relation.columns[column] for column in columns}
        if name == "polycopy_batches":
            assert columns == expected
        else:
            assert (columns, list(columns)) == (expected, list(relation.columns))


def test_an_older_table_is_explained_and_what_others_wrote_stays(
    bench: Bench, request: pytest.FixtureRequest
):
    if request.node.callspec.params["bench"] == "bqemulator":
        pytest.skip("bqemulator makes views, and does not change them")
    google = isinstance(bench, GoogleBench)
    text = "STRING" if google else "VARCHAR"
    bench.sql(f"CREATE TABLE {{}}trades (id {text}, mine {text}, timestamp TIMESTAMP)")
    bench.sql(f"CREATE TABLE {{}}wallet_summary (mine {text})")
    if google:
        view = bigquery.Table(f"{bench.google.project}.{bench.dataset}.market_summary")
        view.view_query = f"SELECT id AS mine FROM {bench.dataset}.trades"
        bench.google.create_table(view)
        table = bench.google.get_table(f"{bench.dataset}.trades")
        table.description = "mine"
        table.schema = [bigquery.SchemaField("id", text, description="mine"), *table.schema[1:]]
        bench.google.update_table(table, ["description", "schema"])
    else:
        bench.sql("CREATE VIEW market_summary AS SELECT id AS mine FROM trades")
        bench.sql("COMMENT ON TABLE wallet_summary IS 'Made by polycopy, form 0.'")
        bench.sql("COMMENT ON TABLE trades IS 'mine'")
        bench.sql("COMMENT ON COLUMN trades.id IS 'mine'")
    bench.warehouse.check_writable()
    found = said(bench)
    assert found["trades"] == ("mine", {"mine": None, **TRADES, "id": "mine"})
    assert found["wallet_summary"][1] == {"mine": None}, "it is a table"
    assert found["market_summary"] == (None, {"mine": None}), "it is no view of ours"
    assert found["daily_trades"][0]
    # A newer version says something else of a view.
    views = {**VIEWS, "daily_trades": VIEWS["daily_trades"]._replace(meaning="Newer.")}
    of_newer(bench, replace(FEED, views=views)).check_writable()
    assert str(said(bench)["daily_trades"][0]).startswith("Newer.")
    assert {**said(bench), "daily_trades": ()} == {**found, "daily_trades": ()}


def test_a_dataset_in_which_we_may_only_write_rows_is_loaded_all_the_same(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    bench = place.bench(place.dataset())
    name = dataset_of(bench)
    manifest = bench.batch(WALLETS[0])
    bench.sql("CREATE TABLE {}trades (wallet_address STRING, id STRING, timestamp TIMESTAMP)")
    bench.load()
    make, patch = server.create_table, server.patch_table

    def refused(*args: Any) -> Any:
        body = next(each for each in args if isinstance(each, dict))
        if "view" in body or "description" in str(body):
            raise JobError(
                "accessDenied", "Access Denied: Permission bigquery.tables.update denied"
            )
        return make(*args) if isinstance(args[1], str) else patch(*args)

    monkeypatch.setattr(server, "create_table", refused)
    monkeypatch.setattr(server, "patch_table", refused)
    with caplog.at_level(logging.WARNING):
        bench.warehouse.describe()
    assert bench.table.count_rows() == manifest.rows
    told = [record.getMessage() for record in caplog.records]
    assert any("view wallet_summary is not made" in each for each in told)
    assert any("descriptions of table trades are left" in each for each in told)
    with pytest.raises(exceptions.NotFound):
        place.client.get_table(f"{name}.wallet_summary")


def test_a_view_that_bigquery_does_not_take_is_named_and_the_others_are_made(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    bench = place.bench(place.dataset())
    bench.batch(WALLETS[0])
    bench.load()
    make, name = server.create_table, dataset_of(bench)

    def refused(*args: Any) -> Any:
        if "market_summary" in str(args) and "wallet_summary" not in str(args):
            raise JobError("invalidQuery", "Unrecognized name: title\nat [3:5]")
        return make(*args)

    monkeypatch.setattr(server, "create_table", refused)
    with caplog.at_level(logging.WARNING):
        bench.warehouse.describe()
    (told,) = [each for each in caplog.messages if "market_summary" in each]
    assert told.startswith(f"{bench.warehouse.uri}: view market_summary is not made")
    assert "Unrecognized name: title" in told
    assert "\n" not in told
    made = {item.table_id for item in place.client.list_tables(name)} & VIEWS.keys()
    assert made == VIEWS.keys() - {"market_summary"}


def test_every_column_has_a_meaning():
    assert list(TRADES) == list(TABLE_SCHEMA)
