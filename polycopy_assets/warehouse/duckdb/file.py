"""The DuckDB file: waited for while another process holds it, opened late, closed early.

DuckDB allows one process at a time, so a connection is never held across a network call.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import duckdb

from polycopy_assets.errors import WarehouseBusy, WarehouseError, WarehouseFull
from polycopy_assets.settings.memory import DEFAULT_MEMORY, MEMORY
from polycopy_assets.settings.shared import PRIVATE
from polycopy_assets.system import waits
from polycopy_assets.system.holders import described
from polycopy_assets.system.sharing import creating, make_directories
from polycopy_assets.text import said_by
from polycopy_assets.warehouse.duckdb import attached

Connection = TypeVar("Connection", bound=duckdb.DuckDBPyConnection)
LOCK_WAIT_SECONDS = 60.0
_LOCK_POLL_SECONDS = 0.2
_HELD = "Could not set lock on file"
"""What DuckDB says when another process has the file."""

_PID = re.compile(r"\(PID (\d+)\)")


class DuckDBFile:
    """The file at `path`.

    `lock_wait`: seconds to wait for it. `memory`: MB that this process may use.
    Whatever DuckDB raises inside a connection becomes a WarehouseError that names the file; it is
    WarehouseFull if the memory was not enough.
    """

    def __init__(
        self,
        path: Path,
        *,
        lock_wait: float = LOCK_WAIT_SECONDS,
        umask: int = PRIVATE,
        memory: int = DEFAULT_MEMORY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.path = path.absolute()
        self.uri = str(self.path)
        self._lock_wait = lock_wait
        self._umask = umask
        self.memory = memory
        self._clock = clock
        self._sleep = sleep

    def exists(self) -> bool:
        """Whether there is such a file; raises WarehouseError if that cannot be found out."""
        try:
            return self.path.exists()
        except OSError as error:
            raise WarehouseError(f"cannot open {self.uri}: {error.strerror}") from error

    @contextmanager
    def connected(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection, once the file is free; raises WarehouseBusy after the bounded wait."""
        with creating(self._umask):
            db = self.when_free(
                lambda: attached.connect(self.path, read_only=read_only, memory=self.memory)
            )
            try:
                with self.translated():
                    yield db
            finally:
                attached.disconnect(self.path, db)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns what DuckDB raises into a WarehouseError that names the file."""
        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise WarehouseFull(
                f"{self.uri}: DuckDB needs more memory than {MEMORY}={self.memory} gives it:"
                f" set it higher ({said_by(error)})"
            ) from error
        except duckdb.Error as error:
            raise WarehouseError(f"{self.uri}: {said_by(error)}") from error

    def when_free(self, connect: Callable[[], Connection]) -> Connection:
        """What `connect` returns, once it is not refused because another process has the file.

        Raises WarehouseBusy after the bounded wait.
        """
        deadline = self._clock() + self._lock_wait
        held = self._try(connect)
        if not isinstance(held, str):
            return held
        told = [held]
        what = lambda: f"Waiting for {self.uri}, held by {told[0]}"  # noqa: E731 - it changes
        with waits.waiting(what, self._lock_wait) as wait:
            while self._clock() < deadline:
                wait.log()
                self._sleep(_LOCK_POLL_SECONDS)
                found = self._try(connect)
                if not isinstance(found, str):
                    return found
                told[0] = found
        raise WarehouseBusy(
            f"waited {self._lock_wait:g} s for {self.uri}: it is held by {told[0]}. Let it finish,"
            " or close it (an open duckdb shell, a notebook). Then start this again: it continues"
            " where it stopped"
        )

    def _try(self, connect: Callable[[], Connection]) -> Connection | str:
        """A connection, or the file's holder; raises WarehouseError if it cannot be opened."""
        try:
            make_directories(self.path.parent, self._umask)
            return connect()
        except attached.UsedHere:
            return f"another part of this process ({os.getpid()})"
        except (duckdb.Error, OSError) as error:
            if _HELD in str(error):
                return _holder(str(error))
            raise WarehouseError(f"cannot open {self.uri}: {said_by(error)}") from error


def _holder(message: str) -> str:
    """The file's holder, read from DuckDB's message."""
    found = _PID.search(message)
    return described(int(found[1])) if found else "another process"
