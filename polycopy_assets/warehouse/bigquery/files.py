"""Rows that BigQuery lists, as a Parquet or CSV file, written in bounded memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
from google.cloud import bigquery
from polars.io.plugins import register_io_source

from polycopy_assets.warehouse.reading import Form

_ROWS = 20_000
_TYPES: Mapping[str, pl.DataType] = {
    "STRING": pl.String(),
    "BYTES": pl.Binary(),
    "INTEGER": pl.Int64(),
    "INT64": pl.Int64(),
    "FLOAT": pl.Float64(),
    "FLOAT64": pl.Float64(),
    "NUMERIC": pl.Decimal(38, 9),
    "BOOLEAN": pl.Boolean(),
    "BOOL": pl.Boolean(),
    "TIMESTAMP": pl.Datetime("us", "UTC"),
    "DATETIME": pl.Datetime("us"),
    "DATE": pl.Date(),
    "TIME": pl.Time(),
}
"""Types in a file; a value of any other type is written as text."""


def schema_of(fields: Sequence[bigquery.SchemaField]) -> dict[str, pl.DataType]:
    """The types that the columns of an answer have in a file."""
    return {
        field.name: pl.String()
        if field.mode == "REPEATED"
        else _TYPES.get(field.field_type, pl.String())
        for field in fields
    }


def write(
    rows: Iterable[Sequence[Any]], schema: Mapping[str, pl.DataType], form: Form, path: Path
) -> int:
    """Writes rows to a file; returns how many."""
    counted = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal counted
        for frame in _frames(rows, schema):
            counted += len(frame)
            yield frame

    if form == "parquet":
        source = register_io_source(lambda *_: frames(), schema=dict(schema))
        source.sink_parquet(path, compression="zstd")
        return counted
    with path.open("wb") as file:
        pl.DataFrame(schema=schema).write_csv(file)
        for frame in frames():
            frame.with_columns(_time(name) for name in _times(schema)).write_csv(
                file, include_header=False
            )
    return counted


def _frames(
    rows: Iterable[Sequence[Any]], schema: Mapping[str, pl.DataType]
) -> Iterator[pl.DataFrame]:
    texts = [number for number, kind in enumerate(schema.values()) if kind == pl.String()]
    remaining = iter(rows)
    while some := [list(row) for row in islice(remaining, _ROWS)]:
        for row in some:
            for number in texts:
                if row[number] is not None and not isinstance(row[number], str):
                    row[number] = str(row[number])
        yield pl.DataFrame(some, schema=schema, orient="row")


def _times(schema: Mapping[str, pl.DataType]) -> list[str]:
    return [name for name, kind in schema.items() if isinstance(kind, pl.Datetime)]


def _time(name: str) -> pl.Expr:
    """A time as text, with a fraction of a second only where there is one."""
    time = pl.col(name)
    return (
        pl.when(time.dt.microsecond() == 0)
        .then(time.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .otherwise(time.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
        .alias(name)
    )
