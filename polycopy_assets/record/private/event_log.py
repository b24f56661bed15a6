"""Dagster's SQLite event log, with connections that stay open.

The original makes a new SQLAlchemy engine for every statement, and so compiles every statement
again: 12 ms for one materialization. With kept engines it takes about 4 ms. A fetch of many small
wallets waits mostly for the record. Named in the `dagster.yaml` that `polycopy init` writes; the
files on disk are the same, so either class can open what the other wrote.

Closing a connection has two useful effects, which this class replaces. Closing moves new data into
`{run}.db`, and the page of a run watches that file: so this class touches the file after each
write. And it opens a file again that was deleted meanwhile.

Private: `SqliteEventLogStorage`, the base of this class, and `ConfigurableClassData`, with which
Dagster makes it, have no public name. Pinned by `dagster/test_storages.py`.
"""

import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterEventType, EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine
from sqlalchemy.pool import QueuePool

from polycopy_assets.record.private.event_batches import store_batch
from polycopy_assets.record.private.patience import patient_engine
from polycopy_assets.settings.shared import umask_in
from polycopy_assets.system.sharing import make_directories, reserve

KEPT_ENGINES = 8


def _is_materialization(event: EventLogEntry) -> bool:
    return event.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """SqliteEventLogStorage below `home`/history/runs that keeps its latest engines."""

    def __init__(self, home: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._home = home
        self._engines: OrderedDict[str, tuple[Engine, int | None]] = OrderedDict()
        self._umask = umask_in(os.environ)
        for folder in ("history/runs", "storage"):
            make_directories(Path(home) / folder, self._umask)
        super().__init__(str(Path(home) / "history" / "runs"), inst_data)

    @classmethod
    def config_type(cls) -> Any:
        """`home`: the instance's directory."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> "PooledSqliteEventLogStorage":
        """The storage that `dagster.yaml` asks for."""
        return cls(inst_data=inst_data, **config_value)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Stores materializations of one run, or of none, in one transaction for each file.

        The original stores them one by one; events of other kinds are still stored so.
        """
        if not events or any(not _is_materialization(e) for e in events):
            super().store_event_batch(events)
            return
        store_batch(self, events)

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:  # noqa: FBT001, FBT002
        reserve(Path(str(engine.url.database)), self._umask)
        super()._initdb(engine, for_index_shard)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).connect() as connection:
            before = _changes(connection)
            with connection.begin():
                yield connection
            if _changes(connection) != before:
                self._announce(shard)

    def _engine(self, shard: str) -> Engine:
        """The kept engine of `shard`; a new one if there is none, or its file was replaced."""
        engine, opened = self._engines.pop(shard, (None, None))
        inode = self._inode(shard)
        if engine is not None and inode != opened:
            engine.dispose()
            engine = None
            self._initialized_dbs.discard(shard)
        if engine is None:
            engine = patient_engine(self.conn_string_for_shard(shard), QueuePool)
        if inode is None:
            self._initialized_dbs.discard(shard)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        self._engines[shard] = engine, self._inode(shard)
        if len(self._engines) > KEPT_ENGINES:
            self._engines.popitem(last=False)[1][0].dispose()
        return engine

    def _inode(self, shard: str) -> int | None:
        try:
            return Path(self.path_for_shard(shard)).stat().st_ino
        except FileNotFoundError:
            return None

    def _announce(self, shard: str) -> None:
        """Changes the file's modification time, for watchers in this process or another."""
        try:
            os.utime(self.path_for_shard(shard))
        except FileNotFoundError:
            return  # deleted since: there is nothing left to watch

    def wipe(self) -> None:
        """Deletes all events."""
        with self._db_lock:
            self._close()
        super().wipe()

    def dispose(self) -> None:
        """Closes all connections."""
        self._close()
        super().dispose()

    def _close(self) -> None:
        while self._engines:
            self._engines.popitem()[1][0].dispose()


def _changes(connection: Connection) -> int:
    """How many rows this connection has ever changed."""
    raw = connection.connection.dbapi_connection
    return raw.total_changes if isinstance(raw, sqlite3.Connection) else 0
