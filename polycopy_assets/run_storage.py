"""Dagster's SQLite storages of runs and of schedules, with patience for a locked database.

The originals give up after five seconds. Statuses and tags of runs and the notes of turns are
written there: whoever kept the file for 20 s, to copy it, failed a fetch. Named in the
`dagster.yaml` that `polycopy init` writes; the files on disk are the same, so either class can
open what the other wrote.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import NullPool

from polycopy_assets.event_log import BUSY_SECONDS


def _patient(conn_string: str) -> Engine:
    return create_engine(conn_string, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})


class PatientSqliteRunStorage(SqliteRunStorage):
    """SqliteRunStorage at `home`/history that waits for a locked database."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engine = _patient(conn_string)
        super().__init__(conn_string, inst_data)

    @classmethod
    def config_type(cls) -> Any:
        """`home`: the instance's directory."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> "PatientSqliteRunStorage":
        """The storage that `dagster.yaml` asks for."""
        return cls.from_local(str(Path(config_value["home"]) / "history"), inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection, in a transaction of its own."""
        with self._engine.begin() as connection:
            yield connection


class PatientSqliteScheduleStorage(SqliteScheduleStorage):
    """SqliteScheduleStorage at `home`/schedules that waits for a locked database."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engine = _patient(conn_string)
        super().__init__(conn_string, inst_data)

    @classmethod
    def config_type(cls) -> Any:
        """`home`: the instance's directory."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> SqliteScheduleStorage:
        """The storage that `dagster.yaml` asks for."""
        return cls.from_local(str(Path(config_value["home"]) / "schedules"), inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection, in a transaction of its own."""
        with self._engine.begin() as connection:
            yield connection
