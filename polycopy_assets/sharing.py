"""Who may read what is created here: its owner alone, unless `POLYCOPY_SHARED` says otherwise.

What exists already is left as it is.
"""

import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, get_args

SHARED = "POLYCOPY_SHARED"
Shared = Literal["no", "group", "all"]
WORDS: tuple[Shared, ...] = get_args(Shared)
UMASKS: Mapping[str, int] = {"no": 0o077, "group": 0o007, "all": 0o002}
PRIVATE = UMASKS["no"]


def umask_in(environ: Mapping[str, str]) -> int:
    """The bits that new files do not get; a word that is none of ours shares nothing."""
    return UMASKS.get(environ.get(SHARED) or "no", PRIVATE)


def make_directories(path: Path, umask: int) -> None:
    """Makes the directory `path` and those above it, whatever the process's own umask."""
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
    """Opens or closes a directory to others; that its files keep its group (setgid) stays."""
    path.chmod((stat.S_IMODE(path.stat().st_mode) & 0o7000) | (0o777 & ~umask))


def make_file(path: Path, umask: int, flags: int = os.O_EXCL) -> int:
    """Creates a file to be written, and opens it; raises FileExistsError if there is one."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | flags, 0o666 & ~umask)
    os.fchmod(handle, 0o666 & ~umask)
    return handle


def reserve(path: Path, umask: int) -> None:
    """Makes an empty file if there is none: SQLite takes it for a new database.

    Its journals get the modes of the database.
    """
    make_directories(path.parent, umask)
    with suppress(FileExistsError):
        os.close(make_file(path, umask))


class _Scope:
    """How many are creating at the moment, and what the process's umask was before."""

    lock = threading.Lock()
    users = 0
    before = 0


@contextmanager
def creating(umask: int) -> Iterator[None]:
    """What a library creates meanwhile is made by `umask`, in all threads of the process.

    A umask is the process's: the first that enters sets it, the last that leaves puts it back.
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
