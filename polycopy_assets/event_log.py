"""Dagster's SQLite event log with connections that are kept.

The original makes a new SQLAlchemy engine for every statement, and with it compiles every
statement anew: 12 ms for one materialization. With engines kept it is about 4 ms, and the record
is what a fetch of many small wallets waits for. Named in the `dagster.yaml` that `polycopy init`
writes; the files on disk are the same, so either class can open what the other wrote.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import DagsterEventType, EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, CursorResult, Engine, create_engine
from sqlalchemy.pool import QueuePool

BUSY_SECONDS = 60
KEPT_ENGINES = 8


def _is_materialization(event: EventLogEntry) -> bool:
    return event.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION


def _inserted(result: CursorResult[Any]) -> int:
    key = result.inserted_primary_key
    if key is None:
        raise dg.DagsterInvariantViolationError("an event was stored without an id")
    return int(key[0])


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """SqliteEventLogStorage below `home`/history/runs that keeps its latest engines."""

    def __init__(self, home: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._home = home
        self._engines: OrderedDict[str, Engine] = OrderedDict()
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

        The original stores them one by one. Anything else than materializations still is.
        """
        if not events or any(not _is_materialization(e) for e in events):
            super().store_event_batch(events)
            return
        (run_id,) = {event.run_id for event in events}
        inserts = [self.prepare_insert_event(event) for event in events]
        with self.run_connection(run_id) as connection:
            for insert in inserts:
                connection.execute(insert)
        with self.index_transaction() as connection:
            ids = [_inserted(connection.execute(insert)) for insert in inserts]
            self._store_asset_event_tags(connection, events, ids)
            self._store_asset_event(connection, events[-1], ids[-1])

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        engine = self._engines.pop(shard, None)
        if engine is None:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=QueuePool,
                connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            )
        self._engines[shard] = engine
        if len(self._engines) > KEPT_ENGINES:
            self._engines.popitem(last=False)[1].dispose()
        return engine

    def dispose(self) -> None:
        """Closes all connections."""
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()
