"""Whether a DuckDB table `trades` that we did not create can hold our rows unchanged."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import duckdb
import polars as pl

from polycopy_assets.trades.frame import ALWAYS_KNOWN, TABLE_SCHEMA
from polycopy_assets.warehouse.duckdb.sql_files import sql

TABLE = "trades"

_KINDS: Mapping[type[pl.DataType], tuple[str, ...]] = {
    pl.String: ("VARCHAR",),
    pl.Float64: ("DOUBLE",),
    pl.Int64: ("BIGINT", "HUGEINT"),
    pl.Datetime: ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP", "TIMESTAMP_MS", "TIMESTAMP_S"),
}
"""The types that lose nothing, our own first; our times are whole seconds."""

_KEY = {"wallet_address", "id"}
_COLLATED = re.compile(r"\b(wallet_address|id)\"? +VARCHAR +COLLATE +(\w+)", re.IGNORECASE)


class _Column(NamedTuple):
    name: str
    kind: str
    not_null: bool
    generated: bool
    has_default: bool
    of_view: bool


def wrong_with(db: duckdb.DuckDBPyConnection, uri: str) -> str:
    """What is wrong with `trades`, in one line; empty if it can hold our rows, or is missing."""
    return next(_wrong(db, uri), "")


def _wrong(db: duckdb.DuckDBPyConnection, uri: str) -> Iterator[str]:
    named = {"table": TABLE}
    columns = [_Column(*row) for row in db.execute(sql("table_columns"), named).fetchall()]
    if any(column.of_view for column in columns):
        yield f"{TABLE} in {uri} is a view and should be a table"
        return
    for column in columns:
        for wrong in _of_column(column):
            yield f"column {column.name} of table {TABLE} in {uri} {wrong}"
    for (text,) in db.execute(sql("table_text"), named).fetchall():
        for name, collation in _COLLATED.findall(text):
            yield (
                f"column {name} of table {TABLE} in {uri} has the collation {collation} and should"
                " have none: two addresses would count as one"
            )
    for text, names in db.execute(sql("table_constraints"), named).fetchall():
        # A unique constraint that includes our whole key never refuses our rows.
        if not ("UNIQUE" in text or "PRIMARY" in text) or not _KEY.issubset(map(str.lower, names)):
            yield (
                f"table {TABLE} in {uri} may refuse trades, because of {text.rstrip(';')}:"
                " it should not"
            )


def _of_column(column: _Column) -> Iterator[str]:
    wanted = TABLE_SCHEMA.get(column.name)
    if wanted is None:
        if column.not_null and not column.has_default:
            yield "is not one of ours and is NOT NULL without a default: it should be nullable"
        return
    if column.generated:
        yield "is generated and should be a plain column"
    kinds = _KINDS[type(wanted)]
    if column.kind not in kinds:
        yield f"is {column.kind} and should be {kinds[0]}"
    if column.not_null and column.name not in ALWAYS_KNOWN:
        yield "is NOT NULL and should be nullable: not every trade has a value"
