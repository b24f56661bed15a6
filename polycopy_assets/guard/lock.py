"""A lock that is freed when its holder dies, and never before.

The kernel frees a `flock(2)` when the last process that has the file open is gone; Postgres frees a
session's advisory lock when its connection ends. Nothing else matters: no lease, no host name, no
process id. A holder's description of itself is for people.

A frozen process still holds its lock. The message of a waiting process names it, and says how to
end it.
"""

import fcntl
import os
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import msgspec

from polycopy_assets.errors import LockLost, PolycopyError
from polycopy_assets.settings.shared import umask_in
from polycopy_assets.system.holders import locked_by
from polycopy_assets.system.sharing import make_directories, open_file

POLL_SECONDS = 0.5


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock, as it describes itself: for messages only.

    `what` is its work (`fetch`), `since` when it took the lock (epoch seconds), and `session` the
    number of the Postgres session that holds it. 0 and "" stand for unknown.
    """

    what: str
    run_id: str = ""
    since: float = 0.0
    host: str = ""
    pid: int = 0
    session: int = 0

    def __str__(self) -> str:
        """`run 1a2b3c4d (fetch, started 2026-11-28 03:12:00 UTC, process 4711 on host-7)`."""
        started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        known = [
            self.what,
            f"started {started}" if self.since else "",
            f"process {self.pid} on {self.host}" if self.pid else "",
        ]
        name = f"run {self.run_id[:8]}" if self.run_id else "another process"
        return f"{name} ({', '.join(part for part in known if part)})"

    @property
    def advice(self) -> str:
        """What to do if the holder hangs."""
        ways = [
            f"on {self.host}: kill -9 {self.pid}" if self.pid else "",
            f"in Postgres: SELECT pg_terminate_backend({self.session})" if self.session else "",
        ]
        known = ", or ".join(way for way in ways if way)
        return f"If it hangs, end it {known or 'and start this again'}"


def this_process(what: str, run_id: str = "") -> Holder:
    """The calling process, as a holder."""
    return Holder(
        what=what, run_id=run_id, since=time.time(), host=socket.gethostname(), pid=os.getpid()
    )


class Lock(Protocol):
    """A lock that is held."""

    def check(self) -> None:
        """Raises LockLost if it is no longer held; call it before each step that needs it."""
        ...

    def release(self) -> None:
        """Frees it; no error if it is no longer held."""
        ...


class Locks(Protocol):
    """The locks of one Dagster instance, by name: letters, digits, `-` and `_`."""

    def try_acquire(self, name: str, holder: Holder) -> Lock | None:
        """The lock, or None if it is not free. Raises PolycopyError if that cannot be checked."""
        ...

    def holder(self, name: str) -> Holder | None:
        """Who holds the lock; None if free. Raises PolycopyError if that cannot be checked."""
        ...

    def now(self) -> float:
        """Epoch seconds, by a clock that all holders of these locks share."""
        ...


@contextmanager
def held(
    locks: Locks,
    name: str,
    holder: Holder,
    *,
    waiting: Callable[[Holder | None], None] = lambda holder: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lock]:
    """Waits for the lock, and holds it; `waiting` gets the holder each time it was not free."""
    while (lock := locks.try_acquire(name, holder)) is None:
        waiting(locks.holder(name))
        sleep(POLL_SECONDS)
    try:
        yield lock
    finally:
        lock.release()


class FileLocks:
    """Locks as files of `directory`, on a disk of this machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._umask = umask_in(os.environ)

    def try_acquire(self, name: str, holder: Holder) -> Lock | None:
        """The lock, or None if another process, or another thread of this one, holds it."""
        path = self._path(name)
        with self._failing(path):
            make_directories(self._directory, self._umask)
            while True:
                file = open_file(path, self._umask)
                if not _flock(file, fcntl.LOCK_EX):
                    os.close(file)
                    return None
                lock = _FileLock(file, path)
                if lock.is_there():
                    break
                os.close(file)  # its last holder removed it between our two calls
            with suppress(OSError):  # only for people: a full disk must not prevent the lock
                os.ftruncate(file, 0)
                os.pwrite(file, msgspec.json.encode(holder), 0)
        return lock

    def holder(self, name: str) -> Holder | None:
        """Who holds the lock; None if it is free."""
        path = self._path(name)
        with self._failing(path):
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            try:
                # Shared, so that two processes that check at once do not take each other for the
                # holder.
                if _flock(file, fcntl.LOCK_SH):
                    return None
                said = os.pread(file, 4096, 0)
            finally:
                os.close(file)
        try:
            holder = msgspec.json.decode(said, type=Holder)
        except msgspec.DecodeError:
            holder = Holder(what="it has just taken the lock")
        return _seen_from_here(holder, locked_by(path))

    def now(self) -> float:
        """Epoch seconds, by this machine's clock."""
        return time.time()

    def _path(self, name: str) -> Path:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"not the name of a lock: {name!r}")
        return self._directory / f"{name}.lock"

    @contextmanager
    def _failing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PolycopyError(
                f"the lock {path} cannot be used: {error.strerror}; is DAGSTER_HOME"
                f" ({shlex.quote(str(self._directory.parent))}) on a disk of this machine?"
            ) from error


class _FileLock:
    def __init__(self, file: int, path: Path) -> None:
        self._file: int | None = file
        self._path = path

    def is_there(self) -> bool:
        """Whether the locked file is still the one at its path."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return False

    def check(self) -> None:
        if not self.is_there():
            raise LockLost(f"{self._path} was removed: another process may hold this lock now")

    def release(self) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), self._path.stat()):
                self._path.unlink()  # while the lock is held: never another holder's file
        os.close(file)


def _seen_from_here(holder: Holder, pids: list[int]) -> Holder:
    """The holder with its process id as seen from here, which differs inside a container."""
    if len(pids) != 1 or pids[0] == holder.pid:
        return holder
    return msgspec.structs.replace(holder, pid=pids[0], host=socket.gethostname())


def _flock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
