"""What DuckDB's results say: counts and times."""

from datetime import UTC, datetime

import duckdb

from polycopy_assets.errors import WarehouseError


def as_utc(moment: object) -> datetime | None:
    """A time of the checkpoint, which DuckDB returns without a zone; None if it is not a time.

    DuckDB gives a year that Python cannot represent as text.
    """
    if not isinstance(moment, datetime):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def changed(result: duckdb.DuckDBPyConnection) -> int:
    """How many rows a statement that changes rows has changed."""
    row = result.fetchone()
    if row is None:
        raise WarehouseError("a count returned no row")
    return int(row[0])
