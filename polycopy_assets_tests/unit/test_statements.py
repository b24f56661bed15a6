"""The statements on the tables of feeds: for trades what they always were, and none knows trades.

They are the same text for every feed but for names and columns. For trades, each is compared with
the digest of what was sent when trades were the only feed, in `data/statements.json`: a view that
changes is made again in every warehouse, and a changed statement may cost more.
"""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from importlib import resources
from pathlib import Path
from string import Template

import polars as pl
import pytest
from google.cloud.bigquery import DatasetReference

from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.frame import exact
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.warehouse.bigquery.statements import statement
from polycopy_assets.warehouse.bigquery.table import kinds
from polycopy_assets.warehouse.duckdb.sql_files import sql
from polycopy_assets_tests.payouts import PAYOUTS

RECORDED = Path(__file__).parents[1] / "data" / "statements.json"
SQL = resources.files("polycopy_assets.warehouse") / "sql"
FORMS = (
    "fills",
    "ledger",
    "columns",
    "whose",
    "since",
    "form",
    "source",
    "own",
    "distinct",
    "staging",
    "change",
)
"""Places whose fillings differ from one use of a statement to the next."""


def rendered(feed: Feed) -> Iterator[tuple[str, str]]:
    """Every statement with its name, as it is sent for `feed`; not the views of other feeds."""
    others = {view for other in FEEDS.values() for view in other.views} - feed.views.keys()
    for engine in ("bigquery", "duckdb"):
        for file in sorted((SQL / engine).iterdir(), key=lambda file: file.name):
            name = file.name.removesuffix(".sql")
            if name in others:
                continue
            if engine == "duckdb":
                yield f"{engine}/{name}", sql(name, feed, **{form: f"<{form}>" for form in FORMS})
                continue
            places = Template(file.read_text()).get_identifiers()
            forms = {form: f"<{form}>" for form in FORMS if form in places}
            yield (
                f"{engine}/{name}",
                statement(name, DatasetReference("project", "dataset"), feed, **forms),
            )


def test_statements_on_trades_are_what_they_were_when_trades_were_the_only_feed():
    made = {name: sha256(text.encode()).hexdigest()[:16] for name, text in rendered(TRADES)}
    assert made == json.loads(RECORDED.read_text())


def test_no_statement_on_another_feed_names_trades():
    ours, theirs = dict(rendered(PAYOUTS)), dict(rendered(TRADES))
    assert {name.partition("/")[2] for name in theirs.keys() - ours.keys()} == {*TRADES.views}
    for name, text in ours.items():
        assert not re.search(r"\btrades?\b|\bpolycopy_batches\b", text), f"{name}: {text}"
        assert not re.search(r"\{\w*\}", text), f"{name} has an empty place: {text}"
    of_feed = {name for name, text in ours.items() if text != theirs[name]}
    assert {name.partition("/")[0] for name in of_feed} == {"bigquery", "duckdb"}
    assert sum("payouts" in ours[name] for name in of_feed) == len(of_feed)


def test_a_column_that_a_later_version_added_does_not_move_the_others():
    lines = dict(rendered(TRADES))["bigquery/insert"].splitlines()
    assert any(line.strip().startswith("sequence,") for line in lines)


@pytest.mark.parametrize("feed", [*FEEDS.values(), PAYOUTS], ids=lambda feed: feed.name)
def test_both_warehouses_have_a_type_for_every_column(feed: Feed):
    assert all(kinds(kind) for kind in feed.frame().table.values())


def test_a_decimal_that_does_not_fit_into_bigquery_is_refused():
    assert kinds(pl.Decimal(38, 9)) == kinds(pl.Decimal(35, 6)) == "NUMERIC"
    for decimal in (pl.Decimal(38, 6), pl.Decimal(20, 10)):
        with pytest.raises(ValueError, match="does not fit into a NUMERIC"):
            kinds(decimal)


def test_amounts_keep_the_digits_of_the_chain():
    served = pl.DataFrame({"usdc": [0.1 + 0.2, 3_999_999_999.999999, 0.000001, -22.84, None]})
    made = served.select(exact("usdc"))["usdc"]
    texts = [None if each is None else f"{each:.6f}" for each in made]
    assert texts == ["0.300000", "3999999999.999999", "0.000001", "-22.840000", None]
    assert made.sum() == Decimal("3999999977.46")
