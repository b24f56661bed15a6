"""Dagster's storages in Postgres: created whole, and with connections that stay open.

Dagster's own class opens a new connection for each statement: 12 ms and more for one
materialization, of which 3 ms remain with a kept one. And it creates its tables one by one: if the
process is killed in between, or two processes create them at once, some are missing for ever.
Named in the `dagster.yaml` that `polycopy init` writes for `POLYCOPY_INSTANCE`; the tables are the
same, so either class can open what the other made.

Private: the tables' metadata have no public name. Pinned by `dagster/test_instance_in_postgres.py`.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import dagster as dg
import psycopg2
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.runs.schema import RunStorageSqlMetadata
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - it is a class

from polycopy_assets.errors import PolycopyError
from polycopy_assets.record.postgres import connect, unusable
from polycopy_assets.record.private.pooled import CONNECT_SECONDS, keep_connections
from polycopy_assets.settings.instance import with_driver

_MARKER = "polycopy_creating"
"""A table that is there while Dagster's are being created."""

_LOCK = "SELECT pg_advisory_lock(hashtextextended('polycopy/creating', 0))"
_NAMES = """
SELECT wanted.name FROM unnest(%s::text[]) AS wanted(name)
WHERE to_regclass(quote_ident(wanted.name)) IS NULL
"""
_MAIN = ["event_logs", "runs", "jobs"]
"""The table of each storage from which Dagster sees whether it has been created."""

_MADE_WITH_ROWS = {"alembic_version", "secondary_indexes", "instance_info"}
"""Tables in which Dagster notes how it created the database."""

_METADATA = (SqlEventLogStorageMetadata, RunStorageSqlMetadata, ScheduleStorageSqlMetadata)


class PooledPostgresStorage(DagsterPostgresStorage):
    """DagsterPostgresStorage at `postgres_url` that keeps its connections.

    Raises PolycopyError, in one line, if the database cannot be reached or may not be filled.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        url = with_driver(postgres_url)
        with _in_one_line(url), _created_whole(url):
            super().__init__(url, inst_data=inst_data)
        keep_connections((self.event_log_storage, self.run_storage, self.schedule_storage))

    @classmethod
    def config_type(cls) -> Any:
        """`postgres_url`: where the database is."""
        return {"postgres_url": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PooledPostgresStorage":
        """The storage that `dagster.yaml` asks for."""
        return cls(config_value["postgres_url"], inst_data)


@contextmanager
def _in_one_line(url: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        # From None: the exception's own text and arguments may quote what was sent.
        raise PolycopyError(unusable(error, url)) from None


@contextmanager
def _created_whole(url: str) -> Iterator[None]:
    """Holds a lock while the tables are created; those of a killed creation are dropped first.

    A database that holds data is complete, and stays: then only the marker was left.
    """
    with closing(_connect(url)) as session, session.cursor() as cursor:
        if not _missing(cursor, _MAIN) and _missing(cursor, [_MARKER]):
            yield
            return
        cursor.execute(_LOCK)
        killed = not _missing(cursor, [_MARKER])
        if killed and not _keeps_something(cursor):
            _drop(cursor)
        new = len(_missing(cursor, _MAIN)) == len(_MAIN)
        if new:
            cursor.execute(_quoted("CREATE TABLE IF NOT EXISTS {} ()", _MARKER))
        yield
        if new or killed:
            cursor.execute(_quoted("DROP TABLE IF EXISTS {}", _MARKER))


def _connect(url: str) -> Any:
    return connect(url, connect_timeout=CONNECT_SECONDS, application_name="polycopy-create")


def _missing(cursor: Cursor, names: list[str]) -> list[str]:
    cursor.execute(_NAMES, (names,))
    return [name for (name,) in cursor.fetchall()]


def _tables(cursor: Cursor) -> list[str]:
    """Dagster's tables that are there."""
    names = {table for metadata in _METADATA for table in metadata.tables} | _MADE_WITH_ROWS
    return sorted(names - set(_missing(cursor, sorted(names))))


def _keeps_something(cursor: Cursor) -> bool:
    """Whether any table has a row beyond those that creating the tables writes."""
    for name in set(_tables(cursor)) - _MADE_WITH_ROWS:
        cursor.execute(_quoted("SELECT 1 FROM {} LIMIT 1", name))
        if cursor.fetchone():
            return True
    return False


def _drop(cursor: Cursor) -> None:
    for name in _tables(cursor):
        cursor.execute(_quoted("DROP TABLE IF EXISTS {} CASCADE", name))


def _quoted(statement: str, table: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(table))
