"""The statements for BigQuery, with the names of a dataset's tables filled in."""

from collections.abc import Mapping
from importlib import resources
from string import Template

from google.cloud import bigquery

from polycopy_assets.boards.columns import TABLE as LEADERBOARD
from polycopy_assets.errors import WarehouseError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.warehouse.tables import listed

_INDENTS = {"insert": 4, "merge": 8}
"""How far the columns are indented in the statements that name them."""


def statement(
    name: str, dataset: bigquery.DatasetReference, feed: Feed | None = None, **names: str
) -> str:
    """Statement `name`, with names of tables and columns, which cannot be parameters, filled in.

    One on the table of a feed has the names of that `feed`. `within` bounds the rows of the table
    in statements that can be bounded: all, if not given.
    """
    package = resources.files("polycopy_assets.warehouse") / "sql" / "bigquery"
    places = {
        "traders": quoted(dataset.table("traders")),
        "checkpoint": quoted(dataset.table("backfill_checkpoint")),
        "leaderboard": quoted(dataset.table(LEADERBOARD)),
        "tokens": quoted(dataset.table("tokens")),
        "markets": quoted(dataset.table("markets")),
        "within": "TRUE",
        **(_of_feed(feed, dataset) if feed else {}),
        **names,
    }
    if feed is not None and name in _INDENTS:
        places |= _columns(feed, _INDENTS[name])
    return Template((package / f"{name}.sql").read_text()).substitute(places)


def _of_feed(feed: Feed, dataset: bigquery.DatasetReference) -> Mapping[str, str]:
    return {
        "table": quoted(dataset.table(feed.table)),
        "batches": quoted(dataset.table(feed.batches)),
        "name": feed.table,
        "noted": feed.batches,
        "row": feed.row,
        "rows": feed.rows,
        "Rows": feed.rows.capitalize(),
    }


def _columns(feed: Feed, indent: int) -> Mapping[str, str]:
    """The columns of the feed's table, and those of a staged row."""
    frame = feed.frame()
    return {
        "into": listed(frame.table, indent, frame.added),
        "staged": listed((f"S.{name}" for name in frame.table), indent),
    }


def quoted(table: bigquery.TableReference) -> str:
    """`project.dataset.table` for use between backticks; raises WarehouseError if it has any."""
    name = f"{table.project}.{table.dataset_id}.{table.table_id}"
    if "`" in name or "\\" in name:
        raise WarehouseError(f"not a table name: {name!r}")
    return name
