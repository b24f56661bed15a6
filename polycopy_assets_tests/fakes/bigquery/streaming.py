"""Rows that are streamed into a table of the double.

https://cloud.google.com/bigquery/docs/data-manipulation-language: rows written by insertAll cannot
be modified by UPDATE, DELETE, MERGE or TRUNCATE for 30 minutes; by another page for 90 minutes.
Whether a statement would touch them is decided by the service. The double takes the worst: while a
table has such rows, none of its rows can be changed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from polycopy_assets_tests.fakes.bigquery.engine import Engine
from polycopy_assets_tests.fakes.bigquery.model import Table

LASTS = timedelta(minutes=90)


def stream(engine: Engine, table: Table, body: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the rows of a request to a table, and answers it."""
    for row in body["rows"]:
        names = ", ".join(f'"{name}"' for name in row["json"])
        values = list(row["json"].values())
        marks = ", ".join("?" * len(values))
        engine.db.execute(f"INSERT INTO {table.physical} ({names}) VALUES ({marks})", values)
    table.streamed = datetime.now(UTC) + LASTS
    table.touch()
    return {"kind": "bigquery#tableDataInsertAllResponse"}
