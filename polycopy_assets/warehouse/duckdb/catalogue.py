"""What is in a DuckDB file: tables, columns, and how the times of a feed's table are stored."""

import duckdb

from polycopy_assets.feeds.base import Feed
from polycopy_assets.warehouse.duckdb.sql_files import sql


def columns(db: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    """The names of a table's columns, in lower case; none if there is no such table.

    A view whose own table is missing is an error: it is not the same as no table.
    """
    try:
        return {row[0] for row in db.execute(sql("columns"), {"table": table}).fetchall()}
    except duckdb.CatalogException:
        if db.execute(sql("broken_view"), {"table": table}).fetchone():
            raise
        return set()


def set_moment(db: duckdb.DuckDBPyConnection, feed: Feed) -> None:
    """Makes our statements compare times as the feed's table has them: with a zone, or without."""
    found = db.execute(sql("is_with_zone", feed)).fetchone()
    kind = "without" if found and not found[0] else "with"
    db.execute(sql(f"moment_{kind}_zone", feed))
