"""SQLite engines that wait for a locked database, say so, and give up in one line.

SQLite's own busy timeout waits without a message, and blocks an interrupt. So a statement waits one
second at a time, and tries again. While a step writes, Dagster holds interrupts back, so each try
checks for one. A process that was interrupted waits for only one second.

Private: it uses `interrupts.py`, and serves the storages beside it. Pinned by
`crash/test_locked.py`.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import Pool

from polycopy_assets.errors import DatabaseBusy
from polycopy_assets.record.private.interrupts import interrupt_is_kept
from polycopy_assets.system import waits
from polycopy_assets.system.holders import described, locked_by
from polycopy_assets.system.interrupt import was_interrupted

BUSY_SECONDS = 180.0
"""How long a statement waits: long enough for a backup, too short for a run to count as silent."""

_SLICE_SECONDS = 1.0
_BUSY = frozenset({"SQLITE_BUSY", "SQLITE_BUSY_RECOVERY"})
"""Not `SQLITE_BUSY_SNAPSHOT`: waiting does not renew a stale snapshot."""

_in_vain: dict[Path, float] = {}
"""Databases that stayed locked for the whole wait, and since when (monotonic seconds).

Statements do not wait for them again until one has succeeded.
"""


def patient_engine(url: str, pool: type[Pool]) -> Engine:
    """An engine on the SQLite database at `url`; its statements wait, then raise DatabaseBusy."""
    engine = create_engine(
        url,
        poolclass=pool,
        connect_args={"timeout": _SLICE_SECONDS, "check_same_thread": False},
    )
    path = Path(str(engine.url.database))

    def execute(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
        _patiently(path, lambda: cursor.execute(statement, parameters))
        return True

    def executemany(cursor: Any, statement: str, parameters: Any, _context: Any) -> bool:
        _patiently(path, lambda: cursor.executemany(statement, parameters))
        return True

    event.listen(engine, "do_execute", execute)
    event.listen(engine, "do_executemany", executemany)
    return engine


def _patiently(path: Path, execute: Callable[[], object]) -> None:
    started = time.monotonic()
    if not _refused(execute):
        _in_vain.pop(path, None)
        return
    patience = 0.0 if path in _in_vain or was_interrupted() else BUSY_SECONDS
    with waits.waiting(lambda: f"Waiting for {_locked(path)}", patience) as wait:
        while time.monotonic() - started < patience and not interrupt_is_kept():
            wait.log()
            if not _refused(execute):
                _in_vain.pop(path, None)
                return
    waited = time.monotonic() - _in_vain.setdefault(path, started)
    raise DatabaseBusy(
        f"{_locked(path)}; waited {waited:.0f} s. Let it finish, or end it; then start this again:"
        " it continues where it stopped"
    )


def _refused(execute: Callable[[], object]) -> bool:
    """Whether the database was locked for all of SQLite's own timeout."""
    try:
        execute()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname in _BUSY:
            return True
        raise
    return False


def _locked(path: Path) -> str:
    """Which file is locked, and by which processes as far as is known."""
    holders = locked_by(path, path.with_name(f"{path.name}-shm"))
    who = ", ".join(map(described, holders)) or "another process"
    return f"Dagster's database {path}: locked by {who}"
