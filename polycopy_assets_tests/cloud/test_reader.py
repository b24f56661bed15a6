"""Questions to BigQuery, and trades of it as a file; see `unit/test_query.py` for DuckDB."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from google.cloud import bigquery

from polycopy_assets.errors import PolycopyError, QueryRefused, WarehouseError
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.feeds.trades.frame import TABLE_SCHEMA
from polycopy_assets.warehouse.bigquery import files, job_calls
from polycopy_assets.warehouse.reading import Selection
from polycopy_assets_tests.bench import WALLETS, WORLD, Bench
from polycopy_assets_tests.cloud.batches import Place, dataset_of, warehouse
from polycopy_assets_tests.cloud.google import PROJECT
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.fakes.bigquery import Double, JobError, server
from polycopy_assets_tests.fakes.bigquery.engine import Engine
from polycopy_assets_tests.fakes.bigquery.model import Table
from polycopy_assets_tests.fakes.gcs import GCS, google_environ


@pytest.fixture
def loaded(place: Place, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A dataset with the trades of two wallets, which is read in small pages."""
    bench = place.bench(place.dataset())
    bench.warehouse.check_writable()
    bench.batch(*WALLETS[:2])
    bench.load()
    monkeypatch.setattr(job_calls, "PAGE_ROWS", 100)
    monkeypatch.setattr("polycopy_assets.warehouse.bigquery.dataset.PAGE_ROWS", 100)
    monkeypatch.setattr(files, "_ROWS", 70)
    return bench


def test_a_question_is_tried_first_and_runs_within_the_cap(
    loaded: Bench, place: Place, double: Double, tmp_path: Path
):
    reader, before = loaded.warehouse.reader, len(double.done("query"))
    sql = "SELECT wallet_address, SUM(trades) AS n FROM daily_trades GROUP BY wallet_address"
    size = reader.estimate(sql)
    assert size
    assert len(double.done("query")) == before, "nothing was run"
    with reader.ask(sql) as answer:
        assert answer.names == ["wallet_address", "n"]
        assert dict(answer.rows()) == {w: len(WORLD.truth(w)) for w in WALLETS[:2]}
    (job,) = double.done("query")[before:]
    assert job.maximum_bytes_billed == 10**10
    assert job.configuration["query"]["defaultDataset"]["datasetId"] == dataset_of(loaded)
    assert loaded.warehouse.cost
    assert loaded.warehouse.cost.bytes_billed >= job.bytes_billed > 0
    frugal = warehouse(place.client, dataset_of(loaded), cap=100)
    expensive = r"would process [0-9,]+ bytes, and POLYCOPY_MAX_BYTES_BILLED allows 100: nothing"
    with pytest.raises(WarehouseError, match=expensive), frugal.reader.ask(sql):
        pass
    assert len(double.done("query")) == before + 1
    every = tmp_path / "x.parquet"
    with reader.ask("SELECT * FROM trades") as answer:
        answer.write_parquet(every)
    frame = pl.read_parquet(every)
    assert dict(frame.schema) == TABLE_SCHEMA
    assert len(frame) == sum(len(WORLD.truth(w)) for w in WALLETS[:2])


def test_what_is_no_single_select_is_refused_before_it_runs(loaded: Bench, double: Double):
    before, rows = len(double.done("query")), loaded.table.count_rows()
    for sql, kind in {
        "DELETE FROM trades WHERE TRUE": "DELETE",
        "DROP TABLE trades": "DROP_TABLE",
        "CREATE TABLE copied AS SELECT * FROM trades": "CREATE_TABLE_AS_SELECT",
        "SELECT 1 AS a; DELETE FROM trades WHERE TRUE": "SCRIPT",
        "INSERT INTO trades (id) VALUES ('x')": "INSERT",
    }.items():
        for read in (loaded.warehouse.reader.estimate, asked(loaded)):
            with pytest.raises(QueryRefused, match=f"a SELECT: BigQuery calls this {kind}$"):
                read(sql)
    for sql, said in {
        "SELEC 1": "Syntax error",
        "SELECT * FROM nowhere": "Not found: Table",
    }.items():
        with pytest.raises(PolycopyError, match=f"BigQuery does not take the query: .*{said}"):
            asked(loaded)(sql)
    assert len(double.done("query")) == before + 1, "that counted the rows"
    assert loaded.table.count_rows() == rows


def asked(bench: Bench):
    def ask(sql: str) -> None:
        with bench.warehouse.reader.ask(sql):
            pass

    return ask


def test_a_time_in_a_csv_file_has_a_fraction_of_a_second_only_where_there_is_one(tmp_path: Path):
    whole = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    path = tmp_path / "times.csv"
    rows = [[whole], [whole.replace(microsecond=500_000)], [None]]
    assert files.write(rows, {"at": pl.Datetime("us", "UTC")}, "csv", path) == 3
    assert path.read_text().splitlines() == [
        "at",
        "2024-05-06T07:08:09Z",
        "2024-05-06T07:08:09.500000Z",
        "",
    ]


def test_trades_are_exported_the_same_listed_or_asked_for(
    loaded: Bench, double: Double, place: Place, tmp_path: Path
):
    reader, before = loaded.warehouse.reader, len(double.done("query"))
    file = tmp_path / "trades.parquet"
    count = sum(len(WORLD.truth(w)) for w in WALLETS[:2])
    assert reader.export(TRADES, Selection(), "parquet", file) == count
    assert len(double.done("query")) == before, "all trades are listed, which is free"
    listed = pl.read_parquet(file).sort("wallet_address", "id")
    assert dict(listed.schema) == TABLE_SCHEMA
    assert reader.export(TRADES, Selection(WALLETS), "parquet", file) == count
    assert pl.read_parquet(file).sort("wallet_address", "id").equals(listed)
    middle = listed["timestamp"].sort()[count // 2]
    text = tmp_path / "trades.csv"
    some = Selection(WALLETS[:1], middle)
    wanted = listed.filter(pl.col("wallet_address") == WALLETS[0], pl.col("timestamp") >= middle)
    assert reader.export(TRADES, some, "csv", text) == len(wanted)
    read = pl.read_csv(text, schema=TABLE_SCHEMA | {"timestamp": pl.String()})
    assert read["timestamp"].str.ends_with("Z").all()
    times = pl.col("timestamp").str.to_datetime("%FT%TZ", time_unit="us", time_zone="UTC")
    assert read.with_columns(times).sort("id").equals(wanted.sort("id"))
    other = place.bench(place.dataset())
    with pytest.raises(WarehouseError, match="there is no table trades in bigquery://"):
        other.warehouse.reader.export(TRADES, Selection(), "csv", text)
    with pytest.raises(WarehouseError, match=r"POLYCOPY_FEEDS=trades,activity\. Is POLYCOPY_W"):
        other.warehouse.reader.export(ACTIVITY, Selection(), "csv", text)
    narrow = bigquery.Table(
        f"{PROJECT}.{dataset_of(other)}.trades",
        [bigquery.SchemaField("id", "STRING"), bigquery.SchemaField("mine", "STRING")],
    )
    place.client.create_table(narrow)
    other.sql("INSERT INTO {}trades (id, mine) VALUES ('a', 'b')")
    assert other.warehouse.reader.export(TRADES, Selection(), "csv", text) == 1
    assert text.read_text().splitlines() == [",".join(TABLE_SCHEMA), ",a" + "," * 17]


def test_the_commands_say_what_they_bill_and_an_export_that_breaks_off_leaves_the_older_file(
    loaded: Bench,
    double: Double,
    *,
    gcs: GCS,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    deployment = Deployment(
        tmp_path / "home",
        "http://127.0.0.1:9",
        POLYCOPY_STORE="gs://some-bucket/p",
        POLYCOPY_WAREHOUSE=loaded.warehouse.uri,
        **google_environ(gcs, double.url),
    )
    sql = "SELECT COUNT(DISTINCT tx_hash) AS n FROM trades"
    code, out = deployment.here("query", "--dry-run", sql)
    assert (code, out[:14], out[-7:]) == (0, "would process ", " bytes\n")
    code, out = deployment.here("query", "--json", sql)
    distinct = {t.tx_hash for wallet in WALLETS[:2] for t in WORLD.truth(wallet)}
    assert (code, json.loads(out)) == (0, [{"n": len(distinct)}])
    assert capsys.readouterr().err == f"1 row, {10 * 2**20:,} bytes billed\n"
    whole, file, listed = tmp_path / "whole.csv", tmp_path / "trades.csv", server.listed
    assert deployment.here("export", "--to", str(whole))[0] == 0
    assert len(whole.read_text().splitlines()) == 1 + loaded.table.count_rows()
    file.write_text("older")
    capsys.readouterr()

    def break_off(engine: Engine, table: Table, parameters: Mapping[str, str]) -> dict[str, Any]:
        if parameters.get("pageToken") == "100":
            raise JobError("accessDenied", "Access Denied: no more")
        return listed(engine, table, parameters)

    monkeypatch.setattr(server, "listed", break_off)
    assert deployment.here("export", "--to", str(file)) == (1, "")
    told = capsys.readouterr().err
    assert re.fullmatch(r"polycopy: cannot read table trades of bigquery://.*no more\n", told)
    assert file.read_text() == "older"
    assert sorted(tmp_path.iterdir()) == [file, whole]
