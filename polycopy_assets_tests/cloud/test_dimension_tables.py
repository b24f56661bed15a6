"""The tables `tokens` and `markets`, on every warehouse: replaced as a whole, and only if ours."""

import io
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from google.api_core import exceptions
from google.cloud import bigquery

from polycopy_assets.demo.awkward import LAST
from polycopy_assets.demo.entry import Labels, activity_row
from polycopy_assets.demo.generate import generate
from polycopy_assets.dimensions.columns import DIMENSIONS
from polycopy_assets.dimensions.facts import Facts, Market, Resolution, Token, is_combo
from polycopy_assets.dimensions.tables import table
from polycopy_assets.errors import Unsuitable, WarehouseError
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.pipeline.dimensions import DimensionPorts, Kept, keep_dimensions
from polycopy_assets.pipeline.new_conditions import Loaded
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets.system.step import Step
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.shapes import POLYMARKET
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.dimensions import BigQueryDimensions
from polycopy_assets_tests.bench import END, WALLETS, Bench
from polycopy_assets_tests.unit.test_asking import Source

ONE, OTHER = f"0x{1:064x}", f"0x{2:064x}"
ODD = "a\u202eb 'c'\n\"d\" \\\\e `f` $g @h"
EVERY = [
    Facts(
        condition=ONE,
        since=1_795_954_752,
        market=Market(question=ODD, tags=(ODD, "b"), fee_rate=Decimal("0.05"), end_date=0),
        resolution=Resolution(
            status="resolved",
            payouts=(Decimal("0.333333"), Decimal("0.666667")),
            resolved_at=1_795_954_000,
            was_disputed=True,
        ),
        tokens=(
            Token(token_id="9" * 77, outcome_index=0, outcome=ODD, final_price=Decimal("0.333333")),
            Token(token_id="8" * 77, outcome_index=1, resolved=True),
        ),
    ),
    Facts(condition=OTHER, since=1_795_954_752),
]


def replace(bench: Bench, name: str, facts: list[Facts], *, lacking: int = 0) -> None:
    rows = table(name, facts)
    file = io.BytesIO()
    rows.write_parquet(file)
    object_name = f"dimensions/tables/{len(facts):08d}-{name}.parquet"
    bench.store.delete(object_name)
    bench.store.create(object_name, file.getvalue())
    bench.warehouse.dimensions.replace(name, object_name, len(rows) + lacking, bench.store)


def test_a_table_has_what_the_store_says_and_nothing_else(bench: Bench):
    for name in DIMENSIONS:
        for facts in (EVERY, EVERY[:1], EVERY, EVERY):
            replace(bench, name, facts)
    assert bench.sql(
        "SELECT token_id, outcome, outcome_index, resolved, final_price, valid_until"
        " FROM {}tokens ORDER BY outcome_index"
    ) == [
        ("9" * 77, ODD, 0, False, Decimal("0.333333"), None),
        ("8" * 77, None, 1, True, None, None),
    ]
    assert bench.sql(
        "SELECT condition_id, known, question, fee_rate, payout_0 + payout_1, was_disputed"
        " FROM {}markets ORDER BY condition_id"
    ) == [
        (ONE, True, ODD, Decimal("0.05"), Decimal(1), True),
        (OTHER, False, None, None, None, None),
    ]
    bench.sql("DELETE FROM {}markets WHERE TRUE")
    replace(bench, "markets", EVERY)
    assert len(bench.sql("SELECT 1 FROM {}markets")) == 2


def test_a_table_of_somebody_else_is_never_replaced(bench: Bench):
    bench.sql("CREATE TABLE {}markets (condition_id STRING, mine STRING)")
    bench.sql("INSERT INTO {}markets VALUES ('a', 'b')")
    with pytest.raises(Unsuitable, match="a table markets that polycopy did not make"):
        replace(bench, "markets", EVERY)
    assert bench.sql("SELECT condition_id, mine FROM {}markets") == [("a", "b")]
    replace(bench, "tokens", EVERY)


def test_a_file_with_another_number_of_rows_is_an_error(bench: Bench):
    replace(bench, "tokens", EVERY)
    with pytest.raises(WarehouseError, match="should have 3 rows, and has 2"):
        replace(bench, "tokens", EVERY, lacking=1)


LEDGERS = generate(13, 1, whales=1, whale_trades=400, ledgers=True)


class ActivityBench(Bench):
    """The store and the warehouse of a bench, for ledgers."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(FeedStore(bench.store, ACTIVITY), bench.warehouse, bench.sql)

    def fetch(self, wallet: str, start: int = 0, until: int = END, **changes: Any) -> Segment:
        return super().fetch(wallet, start, until, source=POLYMARKET, **changes)

    def served(self, wallet: str, span: Interval) -> list[bytes]:
        rows = (activity_row(e, Labels(), LAST) for e in reversed(LEDGERS.entries(wallet)))
        return [
            msgspec.json.encode(row)
            for row in rows
            if span.start <= row["timestamp"] < span.until and row["type"] != "TIP"
        ]


def test_every_condition_in_the_table_of_any_feed_is_asked_for_and_once(bench: Bench):
    activity = ActivityBench(bench)
    bench.batch(WALLETS[0])
    activity.batch(LEDGERS.wallets()[0].lower())
    assert bench.load()
    asked: Counter[str] = Counter()

    def kept(*benches: Bench) -> Kept:
        asked.clear()
        source = Source(lambda way, each: asked.update([each]) if way == "tokens" else None)
        return keep_dimensions(
            DimensionPorts(
                store=bench.store.whole,
                loaded=[
                    Loaded(b.store, frozenset(b.table.loaded_batches()), b.table.conditions)
                    for b in benches
                ],
                tables=bench.warehouse.dimensions,
                open_source=source.opened,
                check=lambda: None,
                step=Step(),
            )
        )

    def named(table: str) -> set[str]:
        rows = bench.sql(
            "SELECT DISTINCT condition_id FROM {table} WHERE condition_id IS NOT NULL", table
        )
        return {condition for (condition,) in rows}

    kept(bench, activity)
    assert set(asked) == named("trades"), "what is not loaded yet is not asked for"
    assert activity.load()
    of_trades, of_ledgers = named("trades"), named("activity")
    splits = {e.condition_id for e in LEDGERS.entries(LEDGERS.wallets()[0]) if e.type == "SPLIT"}
    assert splits <= of_ledgers - of_trades
    kept(bench, activity)
    assert of_ledgers <= set(asked)
    assert set(asked.values()) == {1}
    combos = {each for each in of_ledgers if is_combo(each)}
    assert combos
    assert named("tokens") == of_trades | of_ledgers
    assert named("markets") == (of_trades | of_ledgers) - combos


class Refusing:
    """A dataset without the table, in which it cannot be made."""

    uri = "bigquery://p/d"

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.looks = 0

    def found(self, name: str) -> None:
        self.looks += 1
        assert self.looks < 9, f"looks for {name} without an end"

    def check_lasting(self) -> None:
        pass

    def name(self, table: str) -> bigquery.TableReference:
        return bigquery.DatasetReference("p", "d").table(table)

    def create(self, table: bigquery.Table) -> None:
        del table
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        exceptions.BadRequest("the key is of another region"),
        exceptions.NotFound("the dataset is gone"),
        exceptions.Forbidden("no"),
        exceptions.Conflict("it is there, and cannot be found"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_table_that_cannot_be_made_is_one_line_and_no_endless_look(
    error: Exception, tmp_path: Path
):
    dataset = cast("Dataset", Refusing(error))
    with pytest.raises(WarehouseError, match=f"cannot make table tokens of .*{error.args[0]}"):
        BigQueryDimensions(dataset).replace("tokens", "x.parquet", 1, LocalStore(tmp_path))
