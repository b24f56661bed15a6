"""What a load or a count bills on a table that is large for its cap."""

import pytest
import sqlglot
from google.cloud import bigquery
from sqlglot import exp

from polycopy_assets.errors import WarehouseError
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.ledger.facts import Tally
from polycopy_assets_tests.bench import END, WALLETS, WORLD, Bench, expected
from polycopy_assets_tests.cloud.batches import Place, dataset_of, is_change, warehouse
from polycopy_assets_tests.cloud.google import PROJECT
from polycopy_assets_tests.fakes.bigquery import Double, Job

CAP = 64 * 2**20
ROWS = 300_000
STRANGER = "f" * 400


@pytest.fixture
def bench(place: Place) -> Bench:
    """A table with about twice as many bytes of wallets and times as the cap allows."""
    found = place.bench(place.dataset())
    found.warehouse.check_writable()
    fill(found)
    return tight(place, found)


def tight(place: Place, found: Bench) -> Bench:
    """The same table, with the cap."""
    table = warehouse(place.client, dataset_of(found), cap=CAP)
    return Bench(found.store, table, found.sql)


def fill(bench: Bench) -> None:
    """Rows of a stranger, of all months from 2020 to 2025."""
    bench.sql(
        "INSERT INTO {}trades (wallet_address, timestamp)"
        " SELECT @stranger, TIMESTAMP_SECONDS(1577836800 + n * 600)"
        " FROM UNNEST(GENERATE_ARRAY(1, @rows)) AS n",
        stranger=STRANGER,
        rows=ROWS,
    )


def claimed(double: Double) -> list[Job]:
    """The queries for rows to delete."""
    return [job for job in double.done("query") if "unclaimed" in job.sql]


def test_the_rows_to_delete_of_new_wallets_are_found_within_the_cap(bench: Bench, double: Double):
    late = 1_728_648_794  # October 2024
    for moment in (1_614_834_367, late):
        bench.sql(
            "INSERT INTO {}trades (wallet_address, id, timestamp)"
            " VALUES (@wallet, 'old', TIMESTAMP_SECONDS(@moment))",
            wallet=WALLETS[0],
            moment=moment,
        )
    manifest = bench.batch(*WALLETS[:2])
    assert min(claim.start for claim in manifest.claims) == 0, "no partition is out of question"
    with pytest.raises(WarehouseError, match="POLYCOPY_MAX_BYTES_BILLED"):
        bench.load()  # the two rows lie in most of the partitions
    queries = claimed(double)
    assert len(queries) > 1
    assert all(0 < job.bytes_billed <= CAP for job in queries)
    assert sum(job.bytes_billed for job in queries) > CAP
    bench.sql("DELETE FROM {}trades WHERE timestamp = TIMESTAMP_SECONDS(@moment)", moment=late)
    assert bench.load() == [(manifest.rows, 1)]
    bench.sql("DELETE FROM {}trades WHERE wallet_address = @stranger", stranger=STRANGER)
    assert bench.ids() == expected(WALLETS[:2])


def test_all_rows_are_counted_within_the_cap(bench: Bench, place: Place, double: Double):
    upper = WALLETS[0].upper()
    bench.sql(
        "INSERT INTO {}trades (wallet_address, timestamp, source) VALUES"
        " (@wallet, NULL, NULL), (@upper, TIMESTAMP '2021-01-01 00:00:00', NULL),"
        " (@wallet, TIMESTAMP '2020-01-01 00:00:00', 'polymarket'),"
        " (@wallet, TIMESTAMP '1970-01-01 00:00:00', 'polymarket'),"
        " (@wallet, TIMESTAMP '9999-12-31 23:59:59', 'polymarket')",
        wallet=WALLETS[0],
        upper=upper,
    )
    double.jobs.clear()
    tallied = dict(bench.table.tally({WALLETS[0]: END}))
    queries = double.done("query")
    assert tallied == {STRANGER: Tally(ROWS, 0, 0, 0), WALLETS[0]: Tally(5, 3, 2, 1)}
    assert bench.table.rows_by_wallet() == {STRANGER: ROWS, WALLETS[0]: 4, upper: 1}
    assert bench.table.conditions() == set()
    assert 2 < len(queries) < 9
    assert all(job.bytes_billed <= CAP for job in double.done("query"))
    free = warehouse(place.client, dataset_of(bench)).table(TRADES)
    double.jobs.clear()
    assert dict(free.tally({WALLETS[0]: END})) == tallied
    assert len(double.done("query")) == 1


def test_a_large_table_without_partitions_says_which_cap_it_needs(place: Place, double: Double):
    found = place.bench(place.dataset())
    place.client.create_table(
        bigquery.Table(
            f"{PROJECT}.{dataset_of(found)}.trades",
            schema=[
                bigquery.SchemaField("wallet_address", "STRING"),
                bigquery.SchemaField("timestamp", "TIMESTAMP"),
            ],
        )
    )
    fill(found)
    bench = tight(place, found)
    bench.batch(WALLETS[0])
    before = len(double.requests)
    for count in (bench.load, bench.table.rows_by_wallet, lambda: bench.table.tally({})):
        with pytest.raises(WarehouseError, match="POLYCOPY_MAX_BYTES_BILLED"):
            count()
    assert len(double.requests) - before < 60, "there is nothing to cut"


def test_a_large_reload_joins_no_trade_by_a_key_that_others_have(place: Place, double: Double):
    """BigQuery sends all rows with one key, NULL too, to one worker."""
    bench = place.bench(place.dataset())
    manifest = bench.batch(*WALLETS)
    bench.load()
    double.job_error(is_change, "invalidQuery", "not now")
    with pytest.raises(WarehouseError, match="not now"):
        bench.table.load(manifest, bench.store)
    (merge,) = [job.sql for job in double.done("query") if "MERGE" in job.sql]
    (tree,) = [
        each for each in sqlglot.parse(merge, read="bigquery") if isinstance(each, exp.Merge)
    ]
    key = next(tree.args["on"].find_all(exp.If))
    distinct = exp.Count(this=exp.Distinct(expressions=[key]))
    counts = exp.select(exp.Count(this=exp.Star()), distinct, exp.Count(this=key))
    of_trades = counts.from_(tree.args["using"]).where("S.claim_until IS NULL")
    ((rows, keys, least),) = bench.sql(of_trades.sql(dialect="bigquery"))
    assert rows == keys == least == manifest.rows
    assert rows == sum(len(WORLD.truth(wallet)) for wallet in WALLETS)
    assert bench.load() == []
    assert bench.table.load(manifest, bench.store) == (rows, rows)
