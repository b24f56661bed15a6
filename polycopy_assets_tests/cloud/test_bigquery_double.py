"""The double keeps BigQuery's documented contract where others do not."""

import io
import uuid
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.cloud import bigquery

from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.fakes.gcs import GCS

SCHEMA = [bigquery.SchemaField("a", "STRING"), bigquery.SchemaField("ts", "TIMESTAMP")]


@pytest.fixture
def client(double: Double) -> bigquery.Client:
    double.create_dataset(PROJECT, "d", "EU")
    return bigquery_client(double.url)


@pytest.fixture
def table(client: bigquery.Client) -> bigquery.Table:
    return client.create_table(bigquery.Table(f"{PROJECT}.d.t", schema=SCHEMA))


def _put(gcs: GCS, bucket: str, name: str, frame: pl.DataFrame) -> str:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    gcs.client().bucket(bucket).blob(name).upload_from_string(buffer.getvalue())
    return f"gs://{bucket}/{name}"


def _load(client: bigquery.Client, uris: list[str], **options: object) -> bigquery.LoadJob:
    config = bigquery.LoadJobConfig(source_format="PARQUET", **options)
    return client.load_table_from_uri(uris, f"{PROJECT}.d.t", job_config=config, location="EU")


NO_RETRY: dict[str, Any] = {"job_retry": None}
UTC_ROW = pl.DataFrame({"ts": [datetime(2026, 1, 2, tzinfo=UTC)], "a": ["x"]})


def test_a_job_id_is_used_once_whatever_became_of_the_job(client: bigquery.Client, double: Double):
    for sql in ("SELECT 1", "SELECT no_such_column FROM d.none"):
        job_id = f"j{uuid.uuid4().hex}"
        for number in range(2):
            try:
                client.query(sql, job_id=job_id, location="EU", **NO_RETRY).result()
            except exceptions.NotFound:
                pass
            except exceptions.Conflict:
                assert number == 1
    assert len(double.jobs) == len({job.id for job in double.jobs})


@pytest.mark.usefixtures("table")
def test_a_table_in_a_dataset_that_is_not_there_is_refused_and_nothing_else(
    client: bigquery.Client,
):
    with pytest.raises(exceptions.NotFound, match="Dataset proj:none"):
        client.query("CREATE TABLE none.t AS SELECT 1 AS a", **NO_RETRY).result()
    assert list(client.query("SELECT a FROM d.t", **NO_RETRY).result()) == []


def test_loads_are_by_name_of_the_column_and_all_or_nothing(
    client: bigquery.Client, table: bigquery.Table, gcs: GCS, bucket: str
):
    good = _put(gcs, bucket, "good", UTC_ROW)
    job = _load(client, [good])
    job.result()
    assert job.output_rows == 1
    assert [tuple(row.values()) for row in client.query("SELECT a, ts FROM d.t").result()] == [
        ("x", datetime(2026, 1, 2, tzinfo=UTC))
    ]
    naive = _put(gcs, bucket, "naive", pl.DataFrame({"ts": [datetime(2026, 1, 2)]}))  # noqa: DTZ001
    foreign = _put(gcs, bucket, "foreign", pl.DataFrame({"b": ["x"]}))
    gcs.client().bucket(bucket).blob("torn").upload_from_string(b"PAR1 torn")
    for bad in (naive, foreign, f"gs://{bucket}/torn", f"gs://{bucket}/none"):
        with pytest.raises(exceptions.GoogleAPICallError):
            _load(client, [good, bad], write_disposition="WRITE_TRUNCATE").result()
    with pytest.raises(exceptions.GoogleAPICallError):
        _load(client, [good], write_disposition="WRITE_EMPTY").result()
    assert client.get_table(table).num_rows == 1


@pytest.mark.usefixtures("table")
def test_a_merge_that_matches_a_row_twice_is_refused_and_undone(client: bigquery.Client):
    client.query("INSERT INTO d.t (a) VALUES ('x')").result()
    client.query("CREATE TABLE d.s (a STRING)").result()
    client.query("INSERT INTO d.s (a) VALUES ('x'), ('x'), ('y')").result()
    merge = (
        "MERGE INTO d.t AS T USING d.s AS S ON T.a = S.a WHEN MATCHED THEN DELETE"
        " WHEN NOT MATCHED BY TARGET THEN INSERT (a) VALUES (S.a)"
    )
    with pytest.raises(exceptions.BadRequest, match="at most one source row"):
        client.query(merge).result()
    assert [row[0] for row in client.query("SELECT a FROM d.t").result()] == ["x"]


def test_bytes_are_billed_by_column_and_partition_and_capped(
    client: bigquery.Client, double: Double
):
    table = bigquery.Table(f"{PROJECT}.d.t", schema=SCHEMA)
    table.time_partitioning = bigquery.TimePartitioning(type_="MONTH", field="ts")
    client.create_table(table)
    client.query(
        "INSERT INTO d.t (a, ts) VALUES ('abc', TIMESTAMP '2026-01-05 00:00:00'),"
        " ('de', TIMESTAMP '2026-02-05 00:00:00')"
    ).result()
    sizes = {
        "SELECT a FROM d.t": 5 + 4,
        "SELECT a, ts FROM d.t": 5 + 4 + 16,
        "SELECT COUNT(*) FROM d.t": 0,
        "SELECT a FROM d.t WHERE ts >= TIMESTAMP '2026-02-01 00:00:00'": 4 + 8,
        "SELECT a FROM d.t WHERE ts <= TIMESTAMP '2026-01-31 23:59:59'": 5 + 8,
        "SELECT a FROM d.t WHERE ts <= TIMESTAMP '2026-02-01 00:00:00'": 5 + 4 + 16,
        "SELECT a FROM d.t WHERE ts IS NULL": 0,
        "SELECT a FROM d.t WHERE NOT ts IS NULL": 5 + 4 + 16,
        "DELETE FROM d.t WHERE ts < TIMESTAMP '2026-02-01 00:00:00' AND a = 'no'": 5 + 8,
    }
    for sql, size in sizes.items():
        dry = client.query(sql, job_config=bigquery.QueryJobConfig(dry_run=True))
        assert dry.total_bytes_processed == size, sql
    config = bigquery.QueryJobConfig(maximum_bytes_billed=10 * 2**20 - 1)
    with pytest.raises(exceptions.GoogleAPICallError, match="exceeded limit for bytes billed"):
        client.query("SELECT a FROM d.t", job_config=config).result()
    job = client.query("SELECT a FROM d.t")
    job.result()
    assert job.total_bytes_billed == 10 * 2**20
    again = client.query("SELECT a FROM d.t")
    again.result()
    assert (again.cache_hit, again.total_bytes_billed) == (True, 0)
    client.query("INSERT INTO d.t (a) VALUES ('f')").result()
    changed = client.query("SELECT a FROM d.t")
    changed.result()
    assert not changed.cache_hit
    assert double.engine.tables


def test_a_stale_etag_is_refused_and_columns_are_only_added(
    client: bigquery.Client, table: bigquery.Table
):
    mine, theirs = client.get_table(table), client.get_table(table)
    theirs.labels = {"a": "b"}
    client.update_table(theirs, ["labels"])
    mine.labels = {"c": "d"}
    with pytest.raises(exceptions.PreconditionFailed):
        client.update_table(mine, ["labels"])
    fresh = client.get_table(table)
    fresh.schema = SCHEMA[:1]
    with pytest.raises(exceptions.BadRequest):
        client.update_table(fresh, ["schema"])
    fresh.schema = [*SCHEMA, bigquery.SchemaField("n", "INT64")]
    client.update_table(fresh, ["schema"])
    client.query("INSERT INTO d.t (n) VALUES (7)").result()
    assert [row[0] for row in client.query("SELECT n FROM d.t").result()] == [7]


def test_the_metadata_of_a_table_is_changed_five_times_in_ten_seconds(client: bigquery.Client):
    table = client.create_table(
        bigquery.Table(f"{PROJECT}.d.t", [bigquery.SchemaField("a", "STRING")])
    )
    for number in range(5):
        table.labels = {"a": str(number)}
        table = client.update_table(table, ["labels"])
    with pytest.raises(exceptions.Forbidden, match="too many table update operations") as error:
        client.update_table(table, ["labels"], retry=Retry(predicate=lambda _: False))
    assert error.value.errors[0]["reason"] == "rateLimitExceeded"


def test_a_load_job_names_at_most_ten_thousand_files(client: bigquery.Client):
    uris = [f"gs://bucket/{number}.parquet" for number in range(10_001)]
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    with pytest.raises(exceptions.BadRequest, match="Too many sourceUris"):
        client.load_table_from_uri(uris, f"{PROJECT}.d.t", job_config=config).result()


def test_labels_places_and_expiry_are_as_documented(client: bigquery.Client, double: Double):
    with pytest.raises(exceptions.BadRequest, match="Label"):
        client.query("SELECT 1", job_config=bigquery.QueryJobConfig(labels={"Bad Key": "x"}))
    expiring = bigquery.Table(f"{PROJECT}.d.old", schema=SCHEMA)
    expiring.expires = datetime(2020, 1, 1, tzinfo=UTC)
    client.create_table(expiring)
    with pytest.raises(exceptions.NotFound):
        client.get_table(expiring)
    client.query("CREATE TABLE d.t (a STRING)").result()
    job = client.query("SELECT a FROM d.t")
    job.result()
    assert job.location == "EU"
    with pytest.raises(exceptions.NotFound):
        client.get_job(str(job.job_id), location="US")
    with pytest.raises(exceptions.NotFound):
        client.get_dataset(f"{PROJECT}.none")
    assert double.jobs
