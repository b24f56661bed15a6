"""What is in a DuckDB file: tables, columns, and how the times of `trades` are stored."""

import duckdb

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


def set_moment(db: duckdb.DuckDBPyConnection) -> None:
    """Makes our statements compare times as `trades` stores them: with a zone, or without."""
    found = db.execute(sql("is_with_zone")).fetchone()
    kind = "without" if found and not found[0] else "with"
    db.execute(sql(f"moment_{kind}_zone"))


def any_row(db: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether statement `name` gives any row."""
    return db.execute(sql(name)).fetchone() is not None
