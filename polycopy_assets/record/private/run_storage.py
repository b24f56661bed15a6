"""Dagster's SQLite storages of runs and of schedules, with patience for a locked database.

The originals give up after five seconds. Statuses and tags of runs and the notes on locks are
written there: a backup that locked the file for 20 s failed a fetch (`patience.py`). Named in the
`dagster.yaml` that `polycopy init` writes; the files on disk are the same, so either class can
open what the other wrote.

Private: `SqliteRunStorage` and `SqliteScheduleStorage`, the bases of these classes, and
`ConfigurableClassData`, with which Dagster makes them, have no public name. Pinned by
`dagster/test_storages.py`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection
from sqlalchemy.pool import NullPool

from polycopy_assets.record.private.patience import patient_engine
from polycopy_assets.settings.shared import umask_in
from polycopy_assets.system.sharing import reserve


class _Patient:
    """What both storages share; it must come before Dagster's storage among the bases."""

    folder: ClassVar[str]
    """Where the database is, below the instance's directory."""

    file: ClassVar[str]
    """The database."""

    from_local: Callable[[str, ConfigurableClassData | None], Any]

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engine = patient_engine(conn_string, NullPool)
        super().__init__(conn_string, inst_data)  # type: ignore[call-arg]

    @classmethod
    def config_type(cls) -> Any:
        """`home`: the instance's directory."""
        return {"home": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Any:
        """The storage that `dagster.yaml` asks for."""
        folder = Path(config_value["home"]) / cls.folder
        reserve(folder / cls.file, umask_in(os.environ))
        return cls.from_local(str(folder), inst_data)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection, in a transaction of its own."""
        with self._engine.begin() as connection:
            yield connection


class PatientSqliteRunStorage(_Patient, SqliteRunStorage):
    """SqliteRunStorage at `home`/history that waits for a locked database."""

    folder = "history"
    file = "runs.db"


class PatientSqliteScheduleStorage(_Patient, SqliteScheduleStorage):
    """SqliteScheduleStorage at `home`/schedules that waits for a locked database."""

    folder = "schedules"
    file = "schedules.db"
