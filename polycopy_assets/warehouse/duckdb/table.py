"""Whether a DuckDB table that we did not create can hold the rows of a feed unchanged."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import duckdb

from polycopy_assets.feeds.base import Feed
from polycopy_assets.warehouse.duckdb.column_texts import kinds
from polycopy_assets.warehouse.duckdb.sql_files import sql

_KEY = {"wallet_address", "id"}
_COLLATED = re.compile(r"\b(wallet_address|id)\"? +VARCHAR +COLLATE +(\w+)", re.IGNORECASE)


class _Column(NamedTuple):
    name: str
    kind: str
    not_null: bool
    generated: bool
    has_default: bool
    of_view: bool


def wrong_with(db: duckdb.DuckDBPyConnection, uri: str, feed: Feed) -> str:
    """What is wrong with the feed's table, in one line; empty if it is not there, or fits."""
    return next(_wrong(db, uri, feed), "")


def _wrong(db: duckdb.DuckDBPyConnection, uri: str, feed: Feed) -> Iterator[str]:
    table = feed.table
    named = {"table": table}
    columns = [_Column(*row) for row in db.execute(sql("table_columns"), named).fetchall()]
    if any(column.of_view for column in columns):
        yield f"{table} in {uri} is a view and should be a table"
        return
    for column in columns:
        for wrong in _of_column(column, feed):
            yield f"column {column.name} of table {table} in {uri} {wrong}"
    for (text,) in db.execute(sql("table_text"), named).fetchall():
        for name, collation in _COLLATED.findall(text):
            yield (
                f"column {name} of table {table} in {uri} has the collation {collation} and should"
                " have none: two addresses would count as one"
            )
    for text, names in db.execute(sql("table_constraints"), named).fetchall():
        # A unique constraint that includes our whole key never refuses our rows.
        if not ("UNIQUE" in text or "PRIMARY" in text) or not _KEY.issubset(map(str.lower, names)):
            yield (
                f"table {table} in {uri} may refuse {feed.rows}, because of {text.rstrip(';')}:"
                " it should not"
            )


def _of_column(column: _Column, feed: Feed) -> Iterator[str]:
    frame = feed.frame()
    wanted = frame.table.get(column.name)
    if wanted is None:
        if column.not_null and not column.has_default:
            yield "is not one of ours and is NOT NULL without a default: it should be nullable"
        return
    if column.generated:
        yield "is generated and should be a plain column"
    fitting = kinds(wanted)
    if column.kind not in fitting:
        yield f"is {column.kind} and should be {fitting[0]}"
    if column.not_null and column.name not in frame.always_known:
        yield f"is NOT NULL and should be nullable: not every {feed.row} has a value"
