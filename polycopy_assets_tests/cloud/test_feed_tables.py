"""Two feeds in one warehouse: each has all of its rows once, and neither sees the other's."""

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from google.cloud import bigquery

from polycopy_assets.errors import Unsuitable, WarehouseError, WrongTable
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.pipeline.purge import commit_emptiness
from polycopy_assets.store.identity import make_id
from polycopy_assets.store.local import LocalStore
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets.warehouse.bigquery.windows import by_time
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets.warehouse.fills import Difference
from polycopy_assets_tests.bench import END, WALLETS, Bench, duckdb_sql, expected
from polycopy_assets_tests.cloud.batches import CAP, OURS, THEIRS, Place
from polycopy_assets_tests.cloud.google import PROJECT
from polycopy_assets_tests.payouts import CONDITION, LEDGERS, PAYOUTS, PayoutBench, owed, paid

FIRST, SECOND, THIRD = WALLETS[:3]


def transactions(bench: Bench) -> Counter[tuple[str, str]]:
    """(wallet, transaction) of all rows of the table `payouts`."""
    rows = bench.sql("SELECT wallet_address, id FROM {}payouts")
    return Counter((str(wallet), str(name).rpartition("-")[0]) for wallet, name in rows)


def sums(bench: Bench) -> dict[str, Decimal]:
    """What the rows of each wallet in `payouts` add up to."""
    return dict(bench.sql("SELECT wallet_address, SUM(usdc) FROM {}payouts GROUP BY 1"))


def whole(bench: Bench, payouts: Bench) -> None:
    """Both tables hold what is wanted, and say so."""
    assert bench.ids() == expected([FIRST, SECOND])
    assert transactions(payouts) == owed([FIRST, THIRD])
    assert sums(payouts) == paid([FIRST, THIRD])
    assert bench.table.rows_by_wallet() == Counter(
        w for w, _ in expected([FIRST, SECOND]).elements()
    )
    assert payouts.table.rows_by_wallet() == {w: len(LEDGERS[w]) for w in (FIRST, THIRD)}
    assert not bench.table.duplicates(5).found
    assert not payouts.table.duplicates(5).found
    ours = bench.sql("SELECT condition_id FROM {}trades WHERE condition_id IS NOT NULL")
    assert bench.table.conditions() == {str(row[0]) for row in ours} != set()
    assert payouts.table.conditions() == {CONDITION}


def test_two_feeds_are_loaded_reloaded_purged_and_lost_one_by_one(
    bench: Bench, request: pytest.FixtureRequest
):
    payouts = PayoutBench(bench)
    bench.batch(FIRST, SECOND)
    payouts.batch(FIRST, THIRD)
    both = sum(len(LEDGERS[w]) for w in (FIRST, THIRD))
    assert bench.load() == [(expected([FIRST, SECOND]).total(), 0)]
    assert payouts.table.held().batches == {}, "batch 1 of the other feed is not its own"
    assert not payouts.table.rows_by_wallet()
    assert payouts.table.conditions() == set()
    assert payouts.load() == [(both, 0)]
    assert bench.load() == payouts.load() == []
    whole(bench, payouts)
    assert bench.table.held().batches.keys() == payouts.table.held().batches.keys() == {1}
    # A wallet is combined again; a later batch of one feed is not one of the other.
    assert payouts.combine(FIRST)
    assert payouts.load() == [(len(LEDGERS[FIRST]), len(LEDGERS[FIRST]))]
    assert payouts.table.loaded_batches() == {1, 2}
    assert bench.table.loaded_batches() == {1}
    (tally,) = [count for wallet, count in payouts.table.tally({FIRST: END}) if wallet == FIRST]
    assert tally.inside == tally.ours == len(LEDGERS[FIRST])
    whole(bench, payouts)
    # One feed's batches are forgotten, one table is lost, another is emptied.
    payouts.table.forget_batches()
    assert bench.table.loaded_batches() == {1}
    assert [rows for rows, _ in payouts.load()] == [both, len(LEDGERS[FIRST])]
    whole(bench, payouts)
    bench.sql("DROP TABLE {}trades")
    assert bench.table.loaded_batches() == set()
    assert payouts.table.loaded_batches() == {1, 2}
    bench.load()
    payouts.sql("DELETE FROM {}payouts WHERE TRUE")
    assert payouts.table.loaded_batches() == set()
    assert bench.table.loaded_batches() == {1}
    payouts.load()
    whole(bench, payouts)
    # A wallet is purged from one feed; what was deleted does not seem to be lost.
    loaded = payouts.table.loaded_batches()
    assert commit_emptiness(payouts.store, [FIRST], loaded, END) == 3
    assert payouts.load() == [(0, len(LEDGERS[FIRST]))]
    assert transactions(payouts) == owed([THIRD])
    assert bench.ids() == expected([FIRST, SECOND])
    if request.node.callspec.params["bench"] == "bqemulator":
        return  # it miscounts the parameters of a statement with two arrays
    assert bench.table.delete_loaded([SECOND]) == expected([SECOND]).total()
    assert bench.table.loaded_rows(WALLETS) == {FIRST: expected([FIRST]).total()}
    assert payouts.table.loaded_rows(WALLETS) == {THIRD: len(LEDGERS[THIRD])}
    assert payouts.load() == []


_AS_ACTIVITY = (
    "INSERT INTO {}activity (wallet_address, id, sequence, timestamp, type, side, token_id, shares,"
    " tx_hash, is_combo, source) SELECT wallet_address, id, sequence, timestamp, 'TRADE', side,"
    " token_id, CAST(ROUND(shares_normalized, 6) AS DECIMAL(38, 9)), UPPER(tx_hash), FALSE, source"
    " FROM {}trades WHERE id != @lost"
)
_ONE_MORE = (
    "INSERT INTO {}activity (wallet_address, id, sequence, timestamp, type, side, token_id, shares,"
    " tx_hash, is_combo, source) SELECT wallet_address, @id, sequence, timestamp, @type, side,"
    " token_id, CAST(@shares AS DECIMAL(38, 9)), tx_hash, @combo = 'yes', source"
    " FROM {}trades WHERE wallet_address = @wallet AND id = @like"
)
_FROM_ANOTHER_SOURCE = (
    "INSERT INTO {}trades (wallet_address, id, sequence, timestamp, side, token_id, price,"
    " shares_normalized, tx_hash, source) SELECT wallet_address, 'old', sequence, timestamp, side,"
    " token_id, price, 12.35, tx_hash, 'checkpoint'"
    " FROM {}trades WHERE wallet_address = @wallet AND id = @like"
)


def test_what_only_one_of_two_feeds_has_is_told_by_wallet_day_and_transaction(bench: Bench):
    until = {FIRST: END, SECOND: END}
    bench.batch(FIRST, SECOND)
    bench.load()
    assert bench.warehouse.unmatched(until, 3).totals == {}, "there is only one table"
    bench.warehouse.table(ACTIVITY).take_over(OURS)
    every = "SELECT wallet_address, id, tx_hash, timestamp FROM {}trades ORDER BY 1, 2"
    rows = [row for row in bench.sql(every) if row[0] == FIRST]
    old = next(row for row in bench.sql(every) if row[0] == SECOND)
    lost, other = rows[0], rows[-1]
    bench.sql(_AS_ACTIVITY, lost=str(lost[1]))
    like = {"wallet": FIRST, "like": str(other[1])}
    for number, (kind, shares, combo) in enumerate(
        [
            ("TRADE", "7.5", "no"),
            ("TRADE", "7.5", "no"),  # twins: both count
            ("TRADE", "0.009999", "no"),
            ("TRADE", "3", "yes"),
            ("REDEEM", "5", "no"),  # no trade
        ]
    ):
        made = {"id": f"more-{number}", "type": kind, "shares": shares, "combo": combo}
        bench.sql(_ONE_MORE, **like, **made)
    # An older job has rounded its shares.
    of_old = {"wallet": SECOND, "like": str(old[1])}
    bench.sql(_FROM_ANOTHER_SOURCE, **of_old)
    made = {"id": "of-old", "type": "TRADE", "shares": "12.345678", "combo": "no"}
    bench.sql(_ONE_MORE, **of_old, **made)
    found = bench.warehouse.unmatched(until, 3)
    assert found.totals == {
        Difference.TOLD_OTHERWISE: 2,
        Difference.ACTIVITY_LACKS: 1,
        Difference.TRADES_LACK: 2,
        Difference.DUST: 1,
        Difference.COMBO: 1,
    }
    assert found.since is None
    assert found.first[Difference.ACTIVITY_LACKS] == [
        (FIRST, lost[3].date(), str(lost[2]).lower(), 1)
    ]
    assert found.first[Difference.TRADES_LACK] == [
        (FIRST, other[3].date(), str(other[2]).lower(), 2)
    ]
    # An older job has also lost a fill: its transaction is not explained by rounding.
    made = {"id": "of-old-2", "type": "TRADE", "shares": "4.5", "combo": "no"}
    bench.sql(_ONE_MORE, **of_old, **made)
    assert bench.warehouse.unmatched(until, 3).totals == {
        Difference.ACTIVITY_LACKS: 2,
        Difference.TRADES_LACK: 4,
        Difference.DUST: 1,
        Difference.COMBO: 1,
    }
    # What one of the feeds does not cover is not compared.
    assert bench.warehouse.unmatched({SECOND: 1, FIRST: 1}, 3).totals == {}
    assert bench.warehouse.unmatched({}, 3).totals == {}


def test_each_feed_belongs_to_a_store_by_itself(bench: Bench):
    payouts = PayoutBench(bench)
    bench.batch(FIRST)
    payouts.batch(FIRST)
    make_id(bench.store, OURS)
    bench.load()
    payouts.load()
    manifest = payouts.combine(FIRST)
    assert manifest
    for of in (bench, payouts):
        assert of.table.held().store == OURS
    with pytest.raises(WrongTable):
        payouts.table.load(manifest, payouts.store, THEIRS)
    payouts.table.take_over(THEIRS)
    assert payouts.table.held().store == THEIRS
    assert bench.table.held().store == OURS
    with pytest.raises(WrongTable):
        payouts.load()
    payouts.table.forget_batches()
    assert payouts.load()
    assert payouts.table.held().store == OURS
    assert transactions(payouts) == owed([FIRST])
    assert bench.ids() == expected([FIRST])


def test_a_table_of_a_feed_is_made_described_and_checked_like_that_of_trades(place: Place):
    name = place.dataset()
    dataset = Dataset(place.client, PROJECT, name, max_bytes_billed=CAP, labels={})
    both = BigQueryWarehouse(dataset, feeds=(TRADES, PAYOUTS))
    both.check_writable()
    made = place.client.get_table(f"{name}.payouts")
    trades = place.client.get_table(f"{name}.trades")
    assert made.time_partitioning == trades.time_partitioning
    assert by_time(made)
    assert made.clustering_fields == ["wallet_address"]
    assert made.description == "A payout."
    kinds = {field.name: (field.field_type, field.description) for field in made.schema}
    assert kinds["usdc"] == ("NUMERIC", "USDC that were paid out.")
    assert kinds["is_final"][0] == "BOOL"
    assert {item.table_id for item in place.client.list_tables(name)} == {
        *("traders", "trades", "payouts", *TRADES.views)
    }
    payouts = PayoutBench(place.bench(name))
    payouts.batch(FIRST)
    payouts.load()
    payouts.table.describe()
    batches = place.client.get_table(f"{name}.polycopy_batches_payouts")
    assert (
        batches.description == "Which batches payouts holds. polycopy keeps it: do not change it."
    )
    # Tables that cannot hold what this feed serves; those of trades do not matter.
    field = bigquery.SchemaField
    for column, told in (
        (field("usdc", "FLOAT64"), "usdc of table payouts in .* is FLOAT64 and should be NUMERIC"),
        (field("usdc", "NUMERIC", precision=9, scale=2), r"NUMERIC\(9, 2\) and should be NUMERIC"),
        (field("is_final", "BOOL", mode="REQUIRED"), "not every payout has a value"),
    ):
        other = place.dataset()
        place.client.create_table(bigquery.Table(f"{PROJECT}.{other}.payouts", [column]))
        bench = PayoutBench(place.bench(other, prefix=other))
        bench.batch(SECOND)
        with pytest.raises(Unsuitable, match=told):
            bench.load()


def test_a_duckdb_table_of_a_feed_is_checked_like_that_of_trades(tmp_path: Any):
    for number, (columns, told) in enumerate(
        (
            (
                "usdc DOUBLE",
                r"usdc of table payouts .* is DOUBLE and should be DECIMAL\(38,9\)",
            ),
            ("usdc DECIMAL(9,2)", r"is DECIMAL\(9,2\) and should be DECIMAL\(38,9\)"),
            ("is_final BOOLEAN NOT NULL", "not every payout has a value"),
            ("id VARCHAR UNIQUE", "table payouts .* may refuse payouts, because of UNIQUE"),
        )
    ):
        path = tmp_path / f"{number}.duckdb"
        duckdb_sql(path)(f"CREATE TABLE payouts ({columns})")
        warehouse = DuckDBWarehouse(path)
        warehouse.check_writable()  # it is no feed of this deployment
        bench = PayoutBench(Bench(LocalStore(tmp_path / f"s{number}"), warehouse, duckdb_sql(path)))
        bench.batch(FIRST)
        with pytest.raises(WarehouseError, match=told):
            bench.load()
        with pytest.raises(WarehouseError, match=told):
            DuckDBWarehouse(path, feeds=(TRADES, PAYOUTS)).check_writable()
