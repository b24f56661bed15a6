"""The tables `tokens` and `markets` in a DuckDB file."""

from polycopy_assets.dimensions.columns import DIMENSIONS
from polycopy_assets.errors import WarehouseError
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.warehouse.duckdb.catalogue import columns
from polycopy_assets.warehouse.duckdb.file import DuckDBFile
from polycopy_assets.warehouse.duckdb.relations import comment_on, describe, refuse_others
from polycopy_assets.warehouse.duckdb.results import changed
from polycopy_assets.warehouse.duckdb.sql_files import only, sql
from polycopy_assets.warehouse.feed_table import Parts


class DuckDBDimensions:
    """See `warehouse.base.DimensionTables`."""

    def __init__(self, file: DuckDBFile) -> None:
        self._file = file

    def replace(self, name: str, file: str, rows: int, files: Parts) -> None:
        """Makes the table anew, in one transaction."""
        with files.local(file) as path, self._file.connected(read_only=False) as db:
            there = refuse_others(db, name, self._file.uri)
            db.execute("BEGIN")
            if there:
                db.execute(sql(f"drop_{name}"))
            db.execute(sql(f"create_{name}"))
            comment_on(db, name, DIMENSIONS[name][1])
            inserted = changed(db.execute(sql(f"insert_{name}"), {"file": only(path)}))
            if inserted != rows:
                db.execute("ROLLBACK")
                raise WarehouseError(f"{file} should have {rows} rows, and has {inserted}")
            db.execute("COMMIT")

    def describe(self) -> None:
        """Makes the views on both and on each feed's table that has all of our columns."""
        with self._file.connected(read_only=False) as db:
            whole = [
                feed
                for feed in FEEDS.values()
                if columns(db, feed.table) >= feed.frame().table.keys()
            ]
            describe(db, whole)
