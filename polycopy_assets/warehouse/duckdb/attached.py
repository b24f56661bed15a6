"""Connections to a DuckDB file, which is locked only as long as one of them is open.

Starting DuckDB takes 15 ms, attaching a file to it 1 ms. So a process starts DuckDB once for a
file, in memory, and attaches the file while it has connections to it.
"""

import os
import threading
from pathlib import Path

import duckdb

from polycopy_assets.system.processors import processors
from polycopy_assets.warehouse.duckdb.sql_files import sql

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_SHARE = 0.25
"""DuckDB's part of the memory that a process may use. It takes about 80 MB more than its limit,
Python with Dagster and our modules takes 210 MB, and a fetch leaves up to 80 MB behind."""

THREAD_MB = 60
"""What a thread of DuckDB needs while it inserts a batch of ours. With more threads than fit, a
load fails for want of memory, whatever the size of the batch."""

_LOCK = threading.Lock()
_started: dict[tuple[Path, int], "_Attached"] = {}
"""By the file and the process: what a parent process has started cannot be used after a fork."""


class UsedHere(Exception):
    """Another part of this process has the file open, to read if we want to write, or reversed."""


class _Attached:
    """DuckDB in memory, with the file attached while it has connections."""

    def __init__(self, path: Path, memory: int) -> None:
        # As if the file had been opened by itself, what does not fit into memory goes beside it.
        limit = int(memory * _SHARE)
        own = {
            **_CONFIG,
            "memory_limit": f"{limit}MiB",
            "threads": max(1, min(processors(), limit // THREAD_MB)),
            "temp_directory": f"{path}.tmp",
        }
        self._memory = duckdb.connect(":memory:", config=own)
        self._path = path
        self._read_only = False
        self.connections = 0

    def attach(self, *, read_only: bool) -> None:
        if self.connections and read_only != self._read_only:
            raise UsedHere
        if not self.connections:
            statement = "attach_to_read" if read_only else "attach"
            self._memory.execute(sql(statement), {"path": str(self._path)})
            self._read_only = read_only
        self.connections += 1

    def detach(self) -> None:
        self.connections -= 1
        if not self.connections:
            self._memory.execute(sql("detach"))

    def connected(self) -> duckdb.DuckDBPyConnection:
        return self._memory.cursor().execute(sql("connected"))

    def close(self) -> None:
        self._memory.close()


def connect(path: Path, *, read_only: bool, memory: int) -> duckdb.DuckDBPyConnection:
    """A connection to the file at `path`, set up so that our statements mean the same everywhere.

    `memory`: MB that this process may use; what the first connection says holds for all.
    It has to be given back with `disconnect`. Raises UsedHere, and duckdb.Error if the file cannot
    be opened; that names the other process, if one has it open.
    """
    with _LOCK:
        attached = _started_for(path) or _start(path, memory)
        attached.attach(read_only=read_only)
        try:
            return attached.connected()
        except BaseException:
            attached.detach()
            raise


def disconnect(path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Ends a connection; the file is free after the last one."""
    with _LOCK:
        connection.close()
        if attached := _started_for(path):
            attached.detach()


def _started_for(path: Path) -> _Attached | None:
    return _started.get((path, os.getpid()))


def _start(path: Path, memory: int) -> _Attached:
    for other, attached in list(_started.items()):
        if other[1] == os.getpid() and not attached.connections:
            attached.close()
            del _started[other]
    _started[path, os.getpid()] = attached = _Attached(path, memory)
    return attached
