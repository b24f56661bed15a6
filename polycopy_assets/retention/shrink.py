"""Gives the free pages of SQLite's files back to the disk, in steps that lock only for a moment.

A database that was created by Dagster cannot do that page by page. `VACUUM` changes it, once; it
locks the file for as long as it takes to copy what is in use, so it is done only if that is little.
Without it the file keeps its size, and new events use the free pages.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from polycopy_assets.retention.failures import Failures

_SOME_PAGES = "PRAGMA incremental_vacuum(256)"
VACUUM_AT_MOST_BYTES = 256 * 2**20
"""The most that a `VACUUM` may copy: a few seconds, for which all of our classes wait."""

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
_INCREMENTAL = 2
_WAIT_SECONDS = 1.0
_WORTH_IT = 4
"""A first `VACUUM` is made if at least one in so many pages is free."""


def shrink(home: Path, check: Callable[[], None], failures: Failures) -> None:
    """Shrinks the databases of the instance in `home`.

    One that is locked, or for which the disk is too full, is left for the next time, and added to
    `failures`. `check` is called before each step.
    """
    for name in _DATABASES:
        path = home / name
        if path.is_file():
            try:
                _shrink(path, check)
            except sqlite3.OperationalError as error:  # locked, or the disk is full
                failures.add(path, error)


def _shrink(path: Path, check: Callable[[], None]) -> None:
    with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as database:

        def number(pragma: str) -> int:
            return int(database.execute(pragma).fetchone()[0])

        free = number("PRAGMA freelist_count")
        if number("PRAGMA auto_vacuum") == _INCREMENTAL:
            while free:
                check()
                database.execute(_SOME_PAGES).fetchall()
                left = number("PRAGMA freelist_count")
                if left >= free:
                    break  # another process has freed more meanwhile
                free = left
        else:
            pages = number("PRAGMA page_count")
            used = (pages - free) * number("PRAGMA page_size")
            if free * _WORTH_IT >= pages and used <= VACUUM_AT_MOST_BYTES:
                check()
                database.execute("PRAGMA auto_vacuum = INCREMENTAL")
                database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
