"""The table beside a feed's in a DuckDB file: which batches that holds, and of which store."""

import duckdb
import msgspec

from polycopy_assets.errors import WarehouseError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.warehouse.duckdb.sql_files import sql


class Noted(msgspec.Struct):
    """A row of the table; rows of an older version do not name their store."""

    batch: int
    rows: int
    store: str | None = None


def noted(db: duckdb.DuckDBPyConnection, uri: str, feed: Feed) -> list[Noted]:
    """The rows by batch; raises WarehouseError if they are not what we write."""
    found = db.execute(sql("held", feed))
    names = [column[0].lower() for column in found.description or ()]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    try:
        return sorted(msgspec.convert(rows, list[Noted]), key=lambda item: item.batch)
    except msgspec.ValidationError as error:
        raise WarehouseError(
            f"table {feed.batches} in {uri} does not say which batches are loaded:"
            f" {error}. Drop that table, and the next backfill loads all batches again"
        ) from error
