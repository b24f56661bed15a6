"""Who may read the files created here: only the owner, unless `POLYCOPY_SHARED` says otherwise.

Existing files are left as they are.
"""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TO_WRITE = os.O_WRONLY | os.O_CLOEXEC


def make_directories(path: Path, umask: int) -> None:
    """Makes the directory `path` and its parents, whatever the process's own umask."""
    if path.is_dir():
        return
    make_directories(path.parent, umask)
    make_directory(path, umask)


def make_directory(path: Path, umask: int) -> None:
    """Makes the directory `path` if it is not there; raises OSError."""
    with suppress(FileExistsError):
        path.mkdir(0o777 & ~umask)
        set_directory_mode(path, umask)
    if not path.is_dir():
        raise NotADirectoryError(20, os.strerror(20), str(path))


def set_directory_mode(path: Path, umask: int) -> None:
    """Opens or closes a directory to others; its special bits, such as setgid, stay."""
    path.chmod((stat.S_IMODE(path.stat().st_mode) & 0o7000) | (0o777 & ~umask))


def make_file(path: Path, umask: int) -> int:
    """Creates a file to be written, and opens it; raises FileExistsError if there is one."""
    handle = os.open(path, _TO_WRITE | os.O_CREAT | os.O_EXCL, 0o666 & ~umask)
    os.fchmod(handle, 0o666 & ~umask)
    return handle


def open_file(path: Path, umask: int) -> int:
    """Opens a file to be written, and creates it if there is none.

    An existing file keeps its mode: it may be another user's.
    """
    while True:
        try:
            return os.open(path, _TO_WRITE)
        except FileNotFoundError:
            with suppress(FileExistsError):
                return make_file(path, umask)


def reserve(path: Path, umask: int) -> None:
    """Makes an empty file if there is none: SQLite takes it for a new database.

    Its journals get the modes of the database.
    """
    make_directories(path.parent, umask)
    with suppress(FileExistsError):
        os.close(make_file(path, umask))


class _Scope:
    """How many contexts are open at the moment, and the process's umask before them."""

    lock = threading.Lock()
    users = 0
    before = 0


@contextmanager
def creating(umask: int) -> Iterator[None]:
    """Applies `umask` to what libraries create in the context, in all threads of the process.

    A umask belongs to the process: the first context sets it, the last one restores it.
    """
    with _Scope.lock:
        if not _Scope.users:
            _Scope.before = os.umask(umask)
        _Scope.users += 1
    try:
        yield
    finally:
        with _Scope.lock:
            _Scope.users -= 1
            if not _Scope.users:
                os.umask(_Scope.before)
