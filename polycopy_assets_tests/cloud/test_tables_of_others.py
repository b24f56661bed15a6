"""Tables and datasets as people have them: each is used as it is, or refused in one line."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from polycopy_assets.errors import WarehouseError
from polycopy_assets.feeds.trades.frame import ALWAYS_KNOWN, TABLE_SCHEMA
from polycopy_assets.ledger.facts import Checkpoint
from polycopy_assets.warehouse.bigquery.table import fields
from polycopy_assets_tests.bench import WALLETS, expected
from polycopy_assets_tests.cloud.batches import GoogleBench
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client
from polycopy_assets_tests.fakes.bigquery import Double

DAY = 86_400_000
NOTES = [
    {"name": "store", "type": "STRING"},
    {"name": "batch", "type": "INTEGER"},
    {"name": "digest", "type": "STRING"},
    {"name": "rows", "type": "INTEGER"},
    {"name": "loaded_at", "type": "TIMESTAMP"},
]
SCHEMA = [field.to_api_repr() for field in fields(TABLE_SCHEMA)]
MONTHS = {"type": "MONTH", "field": "timestamp"}

on_bigquery = pytest.mark.parametrize(
    "bench",
    ["double", "bqemulator", pytest.param("cloud", marks=pytest.mark.cloud)],
    indirect=True,
)


def column(name: str, /, **changes: str) -> list[dict[str, Any]]:
    """Our columns, one of them otherwise."""
    return [{**item, **changes} if item["name"] == name else item for item in SCHEMA]


def make(bench: GoogleBench, table: str = "trades", **properties: Any) -> bigquery.Table:
    """Creates a table past our code; skips the test where the stand-in keeps no such property."""
    client = bench.google
    reference = {"projectId": client.project, "datasetId": bench.dataset, "tableId": table}
    wanted = {"schema": {"fields": SCHEMA}, **properties, "tableReference": reference}
    made = client.create_table(bigquery.Table.from_api_repr(wanted))
    shown = client.get_table(made).to_api_repr()
    for name in properties.keys() - {"schema"}:
        if shown.get(name) is None:
            pytest.skip(f"this stand-in keeps no {name}")
    return made


REFUSED = {
    "filter": (
        {"requirePartitionFilter": True, "timePartitioning": MONTHS},
        r"table trades in \S+ requires a partition filter",
    ),
    "partitions that expire": (
        {"timePartitioning": {**MONTHS, "expirationMs": str(90 * DAY)}},
        r"partitions of table trades in \S+ expire after 90 days",
    ),
    "required": (
        {"schema": {"fields": column("title", mode="REQUIRED")}},
        r"column title of table trades in \S+ is REQUIRED",
    ),
    "required, not ours": (
        {"schema": {"fields": [*SCHEMA, {"name": "x", "type": "STRING", "mode": "REQUIRED"}]}},
        r"column x of table trades in \S+ is not one of ours and is REQUIRED",
    ),
    "repeated": (
        {"schema": {"fields": column("side", mode="REPEATED")}},
        r"column side of table trades in \S+ is REPEATED",
    ),
    "numeric prices": (
        {"schema": {"fields": column("price", type="NUMERIC")}},
        r"column price of table trades in \S+ is NUMERIC and should be FLOAT64",
    ),
    "times as text": (
        {"schema": {"fields": column("timestamp", type="STRING")}},
        r"column timestamp of table trades in \S+ is STRING and should be TIMESTAMP",
    ),
    "times as seconds": (
        {"schema": {"fields": column("timestamp", type="INTEGER")}},
        r"column timestamp of table trades in \S+ is INT64 and should be TIMESTAMP",
    ),
    "times without a zone": (
        {"schema": {"fields": column("timestamp", type="DATETIME")}},
        r"column timestamp of table trades in \S+ is DATETIME and should be TIMESTAMP",
    ),
}


@on_bigquery
@pytest.mark.parametrize(("properties", "told"), REFUSED.values(), ids=REFUSED)
def test_a_table_that_would_refuse_or_lose_rows_is_refused_at_the_start(
    bench: GoogleBench, properties: dict[str, Any], told: str
):
    make(bench, **properties)
    bench.batch(WALLETS[0])
    for do in (bench.warehouse.check_writable, bench.load):
        with pytest.raises(WarehouseError, match=told) as error:
            do()
        assert "\n" not in str(error.value)
    assert bench.table.loaded_batches() == set()


@on_bigquery
@pytest.mark.parametrize("table", ["trades", "traders"])
def test_a_table_that_expires_is_refused_at_the_start(bench: GoogleBench, table: str):
    until = datetime.now(UTC) + timedelta(days=2)
    make(bench, table, expirationTime=str(int(until.timestamp() * 1000)))
    with pytest.raises(WarehouseError, match=rf"table {table} in \S+ expires at {until:%F}"):
        bench.warehouse.check_writable()


USED = {
    "months": {"timePartitioning": MONTHS, "clustering": {"fields": ["wallet_address"]}},
    "days": {"timePartitioning": {"type": "DAY", "field": "timestamp"}},
    "no partitions": {},
    "required where every trade has a value": {
        "schema": {
            "fields": [
                {**item, "mode": "REQUIRED"} if item["name"] in ALWAYS_KNOWN else item
                for item in SCHEMA
            ]
        }
    },
    "upper case": {"schema": {"fields": column("side", name="Side")}},
    "columns of others": {"schema": {"fields": [{"name": "x", "type": "STRING"}, *SCHEMA]}},
}


@on_bigquery
@pytest.mark.parametrize("properties", USED.values(), ids=USED)
def test_a_table_that_can_hold_all_rows_is_used_as_it_is(
    bench: GoogleBench, properties: dict[str, Any]
):
    make(bench, **properties)
    manifest = bench.batch(*WALLETS[:2])
    bench.warehouse.check_writable()
    assert bench.load() == [(manifest.rows, 0)]
    assert bench.table.load(manifest, bench.store) == (manifest.rows, manifest.rows)
    assert bench.load() == []
    assert bench.ids() == expected(WALLETS[:2])


@contextmanager
def default(bench: GoogleBench, **defaults: int) -> Iterator[None]:
    """The dataset gives its new tables a time to expire."""
    client = bench.google
    dataset = client.get_dataset(bench.dataset)
    for name, value in defaults.items():
        setattr(dataset, name, value)
    client.update_dataset(dataset, list(defaults))
    shown = client.get_dataset(dataset.reference)
    if any(getattr(shown, name) != value for name, value in defaults.items()):
        pytest.skip("this stand-in keeps no defaults of a dataset")
    yield
    for name in defaults:
        setattr(dataset, name, None)
    client.update_dataset(dataset, list(defaults))


@on_bigquery
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("default_partition_expiration_ms", "new partitions in .* expire after 60 days"),
        ("default_table_expiration_ms", "new tables in .* expire after 60 days"),
    ],
)
def test_a_dataset_whose_new_tables_expire_is_refused_before_a_table_is_made(
    bench: GoogleBench, name: str, told: str
):
    bench.batch(WALLETS[0])
    with default(bench, **{name: 60 * DAY}):
        for do in (bench.warehouse.check_writable, bench.load):
            with pytest.raises(WarehouseError, match=told):
                do()
        tables = bench.google.list_tables(bench.dataset)
        assert "trades" not in {table.table_id for table in tables}
    bench.again().load()
    with default(bench, default_partition_expiration_ms=60 * DAY):
        bench.batch(WALLETS[1])
        assert len(bench.again().load()) == 1, "tables that are there keep what they have"


@pytest.mark.parametrize(
    "bench", ["double", pytest.param("cloud", marks=pytest.mark.cloud)], indirect=True
)
@pytest.mark.parametrize("there", [False, True], ids=["no table", "a table"])
def test_a_dataset_whose_new_tables_ignore_case_is_refused_before_anything_is_made(
    bench: GoogleBench, *, there: bool
):
    """Staging tables would get the collation too, and their ids would meet those of others."""
    if there:
        bench.again().warehouse.check_writable()
    before = {table.table_id for table in bench.google.list_tables(bench.dataset)}
    dataset = bench.google.get_dataset(bench.dataset)
    dataset._properties["defaultCollation"] = "und:ci"
    bench.google.update_dataset(dataset, ["defaultCollation"])
    bench.batch(WALLETS[0])
    for do in (bench.warehouse.check_writable, bench.load):
        with pytest.raises(WarehouseError, match="has the default collation und:ci, and should"):
            do()
    assert {table.table_id for table in bench.google.list_tables(bench.dataset)} == before


@on_bigquery
def test_the_table_of_batches_must_not_expire_either(bench: GoogleBench):
    bench.warehouse.check_writable()
    bench.batch(WALLETS[0])
    with (
        default(bench, default_table_expiration_ms=60 * DAY),
        pytest.raises(WarehouseError, match=r"new tables in .* expire after 60 days"),
    ):
        bench.again().load()
    assert len(bench.again().load()) == 1


@on_bigquery
@pytest.mark.parametrize("made_from", ["view", "expiring"])
def test_a_table_of_batches_that_cannot_be_used_is_refused_before_anything_is_made(
    bench: GoogleBench, made_from: str
):
    """Batches would be noted where nothing can be, or vanish, and all be loaded again."""
    until = datetime.now(UTC) + timedelta(days=2)
    if made_from == "view":
        make(bench, "other")
        view = {"query": f"SELECT * FROM `{bench.dataset}.other`", "useLegacySql": False}
        make(bench, "polycopy_batches", schema={}, view=view)
        told = r"polycopy_batches in \S+ is a VIEW and should be a TABLE"
    else:
        expires = str(int(until.timestamp() * 1000))
        make(bench, "polycopy_batches", schema={"fields": NOTES}, expirationTime=expires)
        told = rf"table polycopy_batches in \S+ expires at {until:%F}"
    for do in (bench.warehouse.check_fits, bench.warehouse.check_writable):
        with pytest.raises(WarehouseError, match=told) as error:
            do()
        assert "\n" not in str(error.value)
    assert "trades" not in {table.table_id for table in bench.google.list_tables(bench.dataset)}


@on_bigquery
def test_the_table_of_batches_that_we_make_is_one_that_we_use(bench: GoogleBench):
    bench.batch(WALLETS[0])
    bench.load()
    made = bench.google.get_table(f"{bench.dataset}.polycopy_batches")
    assert [field.name for field in made.schema] == [item["name"] for item in NOTES]
    bench.again().warehouse.check_writable()


@pytest.mark.parametrize(
    "bench", ["double", pytest.param("cloud", marks=pytest.mark.cloud)], indirect=True
)
def test_rows_that_were_streamed_just_now_are_named_as_the_reason(bench: GoogleBench):
    """The older job streams its checkpoint."""
    columns = [
        {"name": name, "type": kind}
        for name, kind in zip(
            Checkpoint._fields,
            ("STRING", "BOOLEAN", "TIMESTAMP", "INTEGER", "STRING", "BOOLEAN"),
            strict=True,
        )
    ]
    table = make(bench, "backfill_checkpoint", schema={"fields": columns})
    row = {"wallet_address": WALLETS[0], "completed": False}
    assert bench.google.insert_rows_json(table, [row]) == []
    ticked = Checkpoint(
        wallet_address=WALLETS[0],
        completed=True,
        processed_at=datetime.now(UTC),
        trade_count=1,
        gcs_file="f",
        upload_successful=True,
    )
    with pytest.raises(WarehouseError, match="up to 90 minutes: wait, and do it again") as error:
        bench.warehouse.mark_complete([ticked])
    assert "\n" not in str(error.value)
    assert [row.completed for row in bench.warehouse.checkpoint() or ()] == [False]


# -- the double does what is refused above --------------------------------------------------------


@pytest.fixture
def client(double: Double) -> bigquery.Client:
    double.create_dataset(PROJECT, "d", "EU")
    return bigquery_client(double.url)


def plain(client: bigquery.Client, **properties: Any) -> str:
    """A table of the double; its name for a statement."""
    name = f"t{uuid.uuid4().hex[:8]}"
    reference = {"projectId": PROJECT, "datasetId": "d", "tableId": name}
    wanted = {"tableReference": reference, **properties}
    client.create_table(bigquery.Table.from_api_repr(wanted))
    return f"d.{name}"


TWO = [{"name": "a", "type": "STRING"}, {"name": "ts", "type": "TIMESTAMP"}]


def test_the_double_wants_a_filter_where_the_table_requires_one(client: bigquery.Client):
    parts = {"type": "MONTH", "field": "ts"}
    table = plain(
        client, schema={"fields": TWO}, timePartitioning=parts, requirePartitionFilter=True
    )
    for sql in (f"SELECT COUNT(*) FROM {table}", f"DELETE FROM {table} WHERE a = 'x'"):
        with pytest.raises(exceptions.BadRequest, match="without a filter"):
            client.query(sql, job_retry=None).result()
    client.query(f"INSERT INTO {table} (a) VALUES ('x')").result()
    bounded = f"SELECT a FROM {table} WHERE ts >= TIMESTAMP '2026-01-01 00:00:00'"
    assert list(client.query(bounded).result()) == []


def test_the_double_drops_partitions_that_are_too_old(client: bigquery.Client):
    client.update_dataset(_with(client, 30 * DAY), ["default_partition_expiration_ms"])
    table = plain(client, schema={"fields": TWO}, timePartitioning={"type": "MONTH", "field": "ts"})
    client.query(
        f"INSERT INTO {table} (a, ts) VALUES ('old', TIMESTAMP '2020-01-05 00:00:00'),"
        " ('new', CURRENT_TIMESTAMP())"
    ).result()
    assert [row[0] for row in client.query(f"SELECT a FROM {table}").result()] == ["new"]


def _with(client: bigquery.Client, last: int) -> bigquery.Dataset:
    dataset = client.get_dataset("d")
    dataset.default_partition_expiration_ms = last
    return dataset


def test_the_double_refuses_a_row_without_a_required_value(client: bigquery.Client):
    required = [{**TWO[0], "mode": "REQUIRED"}, TWO[1]]
    table = plain(client, schema={"fields": required})
    with pytest.raises(exceptions.BadRequest, match=r"(?i)null"):
        client.query(f"INSERT INTO {table} (a) VALUES (NULL)", job_retry=None).result()
