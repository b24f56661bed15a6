"""Opens a DuckDB file to read its tables, or to write to those of feeds, made as they should be."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from polycopy_assets.errors import WarehouseError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.warehouse.duckdb.catalogue import set_moment
from polycopy_assets.warehouse.duckdb.file import DuckDBFile
from polycopy_assets.warehouse.duckdb.relations import describe
from polycopy_assets.warehouse.duckdb.sql_files import sql


@contextmanager
def reading(file: DuckDBFile) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """A connection that cannot change anything; None if there is no file yet."""
    if not file.exists():
        yield None
        return
    with file.connected(read_only=True) as db:
        yield db


@contextmanager
def writing(file: DuckDBFile, feeds: Sequence[Feed]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to tables of `feeds` that exist and can hold our rows.

    The statements on times are those of the last one.
    """
    with file.connected(read_only=False) as db:
        for feed in feeds:
            check_table(db, file.uri, feed)
        for feed in feeds:
            db.execute(sql("create", feed))
        describe(db, feeds)
        for feed in feeds:
            set_moment(db, feed)
        yield db


def check_table(db: duckdb.DuckDBPyConnection, uri: str, feed: Feed) -> None:
    """Raises WarehouseError if the feed's table cannot hold our rows unchanged."""
    # polars: what only reads a count does without it.
    from polycopy_assets.warehouse.duckdb.table import wrong_with  # noqa: PLC0415

    wrong = wrong_with(db, uri, feed)
    if wrong:
        raise WarehouseError(wrong)
