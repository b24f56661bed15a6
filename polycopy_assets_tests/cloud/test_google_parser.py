"""Google's own parser and analyser take every statement that we send to BigQuery."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import pytest
import wasmtime
from google.api_core import exceptions
from google.cloud import bigquery

from polycopy_assets.dimensions.columns import DIMENSIONS
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.feeds.trades.frame import TABLE_SCHEMA
from polycopy_assets.ledger.facts import Checkpoint
from polycopy_assets.warehouse.bigquery import change, windows
from polycopy_assets.warehouse.bigquery.batches_table import BATCHES_LABEL
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.feed_table import BigQueryTable
from polycopy_assets.warehouse.bigquery.table import fields
from polycopy_assets.warehouse.joined import joined
from polycopy_assets.warehouse.reading import Selection
from polycopy_assets_tests.bench import END, WALLETS, Bench
from polycopy_assets_tests.cloud.batches import OURS, Place, dataset_of, overlapping, warehouse
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client
from polycopy_assets_tests.cloud.test_board_table import SNAPSHOT
from polycopy_assets_tests.cloud.test_dimension_tables import EVERY, replace
from polycopy_assets_tests.documents import queries
from polycopy_assets_tests.fakes.bigquery import Double, Job, bigquery_double
from polycopy_assets_tests.fakes.bigquery.engine import Statement
from polycopy_assets_tests.fakes.bigquery.parser import Refused, analyse, complaint
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.fakes.machine_code import kept
from polycopy_assets_tests.payouts import PAYOUTS, PayoutBench

pytestmark = pytest.mark.xdist_group("google_parser")  # the statements are collected once

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDER = resources.files("polycopy_assets.warehouse") / "sql" / "bigquery"
NAMES = sorted(each.name.removesuffix(".sql") for each in FOLDER.iterdir())
OF_CHECKPOINT = (
    "wallet_address STRING, completed BOOL, processed_at TIMESTAMP, trade_count INT64,"
    " gcs_file STRING, upload_successful BOOL"
)


class Sent(NamedTuple):
    """A statement as it was sent: the files it is made of, its parameters, and the tables then.

    `filled` says what was filled in at which place of which file.
    """

    files: frozenset[str]
    filled: Mapping[tuple[str, str], str]
    sql: str
    parameters: Sequence[Mapping[str, Any]]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]

    @property
    def form(self) -> str:
        """What the parser's answer depends on."""
        types = [(each["name"], each["parameterType"]) for each in self.parameters]
        return repr((self.sql, types, self.tables))


@pytest.fixture(scope="module")
def sent(gcs: GCS) -> list[Sent]:
    """Every statement that the warehouse sends, in each of its forms."""
    files: dict[str, tuple[str, Mapping[str, str]]] = {}
    found: list[Sent] = []
    with pytest.MonkeyPatch.context() as patch, bigquery_double(gcs.url) as double:
        make, parse = Dataset.sql, double.engine.parse

        def making(self: Dataset, name: str, feed: Feed | None = None, **names: str) -> str:
            text = make(self, name, feed, **names)
            files[text] = name, {"within": "TRUE", **names}
            return text

        def parsing(job: Job) -> list[Statement]:
            parameters = job.configuration["query"].get("queryParameters", [])
            tables = {".".join(t.name): t.schema for t in double.engine.tables.values()}
            used = [made for text, made in files.items() if text in job.sql]
            filled = {(name, place): what for name, at in used for place, what in at.items()}
            of = frozenset(name for name, _ in used)
            found.append(Sent(of, filled, job.sql, parameters, tables))
            return parse(job)

        patch.setattr(Dataset, "sql", making)
        patch.setattr(double.engine, "parse", parsing)
        place = Place(gcs, double)
        _use(place, patch)
        _use_for_payouts(place, patch)
        _use_a_table_without_sources(place)
        _use_large_tables(place)
    return found


def _use(place: Place, patch: pytest.MonkeyPatch) -> None:
    bench = place.bench(place.dataset())
    warehouse = bench.warehouse
    warehouse.check_writable()
    warehouse.add_traders(WALLETS)
    warehouse.traders()
    overlapping(bench)
    bench.load()
    table = place.client.get_table(f"{dataset_of(bench)}.trades")
    table.labels = {BATCHES_LABEL: "1"}
    place.client.update_table(table, ["labels"])
    warehouse.table(TRADES).take_over(OURS)
    patch.setattr(change, "_FEW_WALLETS", 0)
    bench.load()
    for by_id in (False, True):
        warehouse.table(TRADES).tally({WALLETS[0]: END}, by_id=by_id)
    warehouse.table(TRADES).delete_mixed_case({WALLETS[0]: END})
    warehouse.table(TRADES).duplicates(3)
    warehouse.table(TRADES).rows_by_month()
    warehouse.table(TRADES).rows_by_wallet()
    warehouse.table(TRADES).conditions()
    warehouse.table(TRADES).count_rows()
    ledger = warehouse.table(ACTIVITY)
    assert isinstance(ledger, BigQueryTable)
    ledger.make()
    warehouse.unmatched({WALLETS[0]: END}, 3)
    for name in DIMENSIONS:
        replace(bench, name, EVERY)
    warehouse.dimensions.describe()
    warehouse.below_zero([WALLETS[0]], 3)
    warehouse.table(TRADES).delete_loaded(WALLETS)
    bench.sql(f"CREATE TABLE {{}}backfill_checkpoint ({OF_CHECKPOINT})")
    done = {"completed": True, "upload_successful": True}
    moment = datetime.now(UTC)
    row = Checkpoint(WALLETS[0], processed_at=moment, trade_count=1, gcs_file="f", **done)
    warehouse.mark_complete([row])
    warehouse.checkpoint()
    warehouse.remove_traders([WALLETS[0]])
    warehouse.boards.load(SNAPSHOT)
    warehouse.boards.held()
    _export(bench)


def _use_for_payouts(place: Place, patch: pytest.MonkeyPatch) -> None:
    """The statements on the table of another feed."""
    bench = PayoutBench(place.bench(place.dataset()))
    overlapping(bench)
    bench.load()
    table = place.client.get_table(f"{dataset_of(bench)}.payouts")
    table.labels = {BATCHES_LABEL: "1"}
    place.client.update_table(table, ["labels"])
    bench.table.take_over(OURS)
    patch.setattr(change, "_FEW_WALLETS", 1_000)
    bench.load()
    for by_id in (False, True):
        bench.table.tally({WALLETS[0]: END}, by_id=by_id)
    bench.table.delete_mixed_case({WALLETS[0]: END})
    bench.table.duplicates(3)
    bench.table.rows_by_month()
    bench.table.rows_by_wallet()
    bench.table.conditions()
    bench.table.count_rows()
    bench.table.delete_loaded(WALLETS)
    _export(bench)


def _export(bench: Bench) -> None:
    """Some rows as a file, by wallet, by time, and by both."""
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        for chosen in (Selection(WALLETS), Selection(since=moment), Selection(WALLETS, moment)):
            bench.warehouse.reader.export(bench.store.feed, chosen, "csv", Path(folder) / "x.csv")


def _use_a_table_without_sources(place: Place) -> None:
    bench = place.bench(place.dataset())
    bench.sql("CREATE TABLE {}trades (wallet_address STRING, id STRING, timestamp TIMESTAMP)")
    for by_id in (False, True):
        bench.table.tally({WALLETS[0]: END}, by_id=by_id)
    _export(bench)


def _use_large_tables(place: Place) -> None:
    """Two tables that exceed the cap, so that each statement is several; one has no sources."""
    large = (
        "INSERT INTO {}trades (wallet_address, condition_id, timestamp)"
        " SELECT @wallet, @wallet, TIMESTAMP_SECONDS(1577836800 + n * 3600)"
        " FROM UNNEST(GENERATE_ARRAY(1, @rows)) AS n"
    )
    for lacked in ({"source"}, set[str]()):
        bench = place.bench(place.dataset())
        made = bigquery.Table(
            f"{PROJECT}.{dataset_of(bench)}.trades",
            [field for field in fields(TABLE_SCHEMA) if field.name not in lacked],
        )
        made.time_partitioning = bigquery.TimePartitioning(type_="MONTH", field="timestamp")
        place.client.create_table(made)
        bench.sql(large, wallet="f" * 400, rows=50_000)
        table = warehouse(place.client, dataset_of(bench), cap=16 * 2**20)
        for by_id in (False, True):
            table.table(TRADES).tally({WALLETS[0]: END}, by_id=by_id)
        table.table(TRADES).rows_by_wallet()
        table.table(TRADES).conditions()


# -- our statements -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_google_takes_every_statement_with_the_types_that_are_sent(name: str, sent: list[Sent]):
    forms = {each.form: each for each in sent if name in each.files}
    assert forms, f"nothing above sends {name}.sql"
    for each in forms.values():
        analyse(each.sql, each.parameters, each.tables)


def test_every_form_of_a_statement_is_sent(sent: list[Sent]):
    tallies = [each.sql for each in sent if "tally" in each.files]
    forms = {("COUNT(DISTINCT" in sql, "T.source" in sql) for sql in tallies}
    assert len(forms) == 4
    assert {each.files for each in sent if "load" in each.files} == {
        frozenset({"load", "insert"}),
        frozenset({"load", "merge"}),
    }
    many = [each.parameters for each in sent if "claimed" in each.files]
    assert {str(p["parameterValue"]) for ps in many for p in ps if p["name"] == "many"} == {
        "{'value': 'true'}",
        "{'value': 'false'}",
    }


BOUNDS = {"TRUE", windows.WITHIN, windows.NO_TIME}
"""A statement that can be bounded reads all rows, those of some months, or those without a time."""

TABLES = {
    *("table", "traders", "checkpoint", "batches", "staging", "leaderboard", "fills", "ledger"),
    *("tokens", "markets"),
}
OF_FEED = {"name", "noted", "row", "rows", "Rows", "into", "staged"}
"""What a feed says of itself; `test_every_statement_is_sent_for_every_feed`."""


def test_every_statement_is_sent_for_every_feed(sent: list[Sent]):
    views = {name for feed in FEEDS.values() for name in feed.views} | joined().keys()
    of_feed = [name for name in NAMES if places(name) & {"table", "batches"} and name not in views]
    assert len(of_feed) > 15
    for name in of_feed:
        texts = [each.sql for each in sent if name in each.files]
        # What shares nothing with trades stands for every other feed.
        for feed in (TRADES, PAYOUTS):
            assert any(re.search(rf"\.({feed.table}|{feed.batches})`", text) for text in texts), (
                f"nothing above sends {name}.sql for {feed.name}"
            )


def test_every_form_is_sent_within_all_bounds(sent: list[Sent]):
    bounded = [each for each in NAMES if "within" in places(each)]
    assert bounded == ["conditions", "rows_by_wallet", "tally"]
    for name in bounded:
        others = sorted(places(name) - TABLES - OF_FEED - {"within"})
        of = [each.filled for each in sent if name in each.files]
        forms = {
            tuple(filled[name, place] for place in others): {
                other[name, "within"]
                for other in of
                if all(other[name, place] == filled[name, place] for place in others)
            }
            for filled in of
        }
        assert len(forms) == (4 if name == "tally" else 1)
        assert all(found == BOUNDS for found in forms.values()), forms


@pytest.mark.parametrize("name", NAMES)
def test_every_place_of_a_statement_is_filled_in_in_more_than_one_way(name: str, sent: list[Sent]):
    """A form that nobody has thought of here would be a place with one filling."""
    for place in places(name) - TABLES - OF_FEED:
        found = {each.filled[name, place] for each in sent if name in each.files}
        assert len(found) > 1, f"{place} is always {found}"


def places(name: str) -> set[str]:
    """The places in a file that are filled in."""
    return set(Template((FOLDER / f"{name}.sql").read_text()).get_identifiers())


def test_a_parameter_of_another_type_is_refused(sent: list[Sent]):
    (first, *_) = [each for each in sent if "loaded_rows" in each.files]
    numbers = {"type": "ARRAY", "arrayType": {"type": "INT64"}}
    wrong = [{**each, "parameterType": numbers} for each in first.parameters]
    with pytest.raises(Refused, match=r"No matching signature for operator IN .* at \[\d+:\d+\]"):
        analyse(first.sql, wrong, first.tables)
    with pytest.raises(Refused, match=r"Query parameter 'sources' not found at \[\d+:\d+\]"):
        analyse(first.sql, first.parameters[:1], first.tables)


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.sql")), ids=lambda file: file.stem)
def test_google_takes_the_examples_as_they_are(file: Path, sent: list[Sent]):
    tables = _beside(sent, "daily_trades")
    analyse(file.read_text(), [], tables)
    with pytest.raises(Refused, match="Table not found"):
        analyse(file.read_text(), [], {})


def _beside(sent: list[Sent], view: str) -> dict[str, Any]:
    """The tables of the first dataset that has `view`."""
    known = next(each.tables for each in sent if any(t.endswith(f".{view}") for t in each.tables))
    whose = next(name for name in known if name.endswith(f".{view}")).rpartition(".")[0] + "."
    return {
        name.removeprefix(whose): found for name, found in known.items() if name.startswith(whose)
    }


def test_google_takes_the_queries_of_the_ledgers_page_as_they_are(sent: list[Sent]):
    tables = _beside(sent, "open_exposure")
    for query in queries("ledger.md"):
        analyse(query, [], tables)


@pytest.mark.parametrize(
    ("completed", "processed_at", "trade_count", "gcs_file"),
    [
        ("BOOL", "TIMESTAMP", "INT64", "STRING"),
        ("STRING", "STRING", "STRING", "STRING"),
        ("INTEGER", "INTEGER", "INTEGER", "INTEGER"),
        ("STRING", "DATE", "NUMERIC", "BYTES"),
        ("BOOLEAN", "DATETIME", "FLOAT", "STRING"),
        ("BOOL", "TIME", "BIGNUMERIC", "DATE"),
    ],
)
def test_a_checkpoint_of_other_types_can_be_read(
    completed: str, processed_at: str, trade_count: str, gcs_file: str
):
    types = {
        "wallet_address": "STRING",
        "completed": completed,
        "processed_at": processed_at,
        "trade_count": trade_count,
        "gcs_file": gcs_file,
        "upload_successful": completed,
    }
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    nothing = bigquery.Client.__new__(bigquery.Client)  # a text is made without a request
    dataset = Dataset(nothing, "p", "d", max_bytes_billed=0, labels={})
    analyse(dataset.sql("checkpoint"), [], {"p.d.backfill_checkpoint": fields})


# -- what the double does with it ---------------------------------------------------------------

RESERVED_ALIAS = """INSERT INTO d.traders (wallet_address)
SELECT DISTINCT LOWER(new)
FROM UNNEST(@wallets) AS new
WHERE LOWER(new) NOT IN (
    SELECT LOWER(TRIM(wallet_address)) FROM d.traders WHERE wallet_address IS NOT NULL
)"""
"""How wallets were added once; our stand-ins took it, and BigQuery never did."""


def test_the_double_refuses_what_google_refuses(double: Double):
    double.create_dataset(PROJECT, "d")
    client = bigquery_client(double.url)
    client.query("CREATE TABLE d.traders (wallet_address STRING)").result()
    before = len(double.jobs)
    wallets = bigquery.ArrayQueryParameter("wallets", "STRING", ["0xa"])
    config = bigquery.QueryJobConfig(query_parameters=[wallets])
    with pytest.raises(exceptions.BadRequest, match=r"400.* Syntax error: .* at \[\d:\d+\]"):
        client.query(RESERVED_ALIAS, job_config=config, job_retry=None).result()
    assert len(double.jobs) == before
    client.query(RESERVED_ALIAS.replace("new", "`new`"), job_config=config).result()
    assert list(client.query("SELECT * FROM d.traders").result())


def test_a_statement_that_was_never_seen_is_parsed():
    assert complaint("SELECT 1 AS in_no_other_statement") == ""
    assert (
        complaint("SELECT 1 in_no_other_statement FROM")
        == "Syntax error: Unexpected end of script at [1:36]"
    )


def test_a_script_is_parsed_to_its_end():
    script = "BEGIN TRANSACTION;\nDELETE FROM d.t WHERE TRUE;\n{}COMMIT TRANSACTION;"
    assert complaint(script.format("")) == ""
    assert complaint(script.format("DELETE FROM WHERE TRUE;\n")).endswith("at [3:13]")


# https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords
RESERVED = """
ALL AND ANY ARRAY AS ASC ASSERT_ROWS_MODIFIED AT BETWEEN BY CASE CAST COLLATE CONTAINS CREATE CROSS
CUBE CURRENT DEFAULT DEFINE DESC DISTINCT ELSE END ENUM ESCAPE EXCEPT EXCLUDE EXISTS EXTRACT FALSE
FETCH FOLLOWING FOR FROM FULL GROUP GROUPING GROUPS HASH HAVING IF IGNORE IN INNER INTERSECT
INTERVAL INTO IS JOIN LATERAL LEFT LIKE LIMIT LOOKUP MERGE NATURAL NEW NO NOT NULL NULLS OF ON OR
ORDER OUTER OVER PARTITION PRECEDING PROTO QUALIFY RANGE RECURSIVE RESPECT RIGHT ROLLUP ROWS SELECT
SET SOME STRUCT TABLESAMPLE THEN TO TREAT TRUE UNBOUNDED UNION UNNEST USING WHEN WHERE WINDOW WITH
WITHIN
"""


@pytest.mark.parametrize("word", RESERVED.split())
def test_a_reserved_word_is_no_alias_unless_it_is_quoted(word: str):
    for text in ("SELECT 1 AS {}", "SELECT 1 FROM UNNEST([1]) AS {}", "SELECT {0}.a FROM t AS {0}"):
        assert re.search(r" at \[1:\d+\]$", complaint(text.format(word)))
        assert complaint(text.format(f"`{word}`")) == ""


# -- its machine code ---------------------------------------------------------------------------


def test_machine_code_is_made_once_and_made_again_if_it_cannot_be_used(tmp_path: Path):
    wasm, file = tmp_path / "m.wasm", tmp_path / "cache" / "m.code"
    wasm.write_bytes(wasmtime.wat2wasm('(module (func (export "f") (result i32) i32.const 7))'))
    engine = wasmtime.Engine()

    def value() -> int:
        store = wasmtime.Store(engine)
        instance = wasmtime.Instance(store, kept(engine, wasm, file), [])
        function = instance.exports(store)["f"]
        assert isinstance(function, wasmtime.Func)
        return function(store)

    assert value() == 7
    made = file.stat()
    assert value() == 7
    assert file.stat().st_ino == made.st_ino
    file.write_bytes(b"of another version")
    assert value() == 7
    assert file.stat().st_size == made.st_size
