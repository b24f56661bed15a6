"""A Dagster home that lasts as long as one command.

A file in it is locked for that long: the kernel frees it when the process ends, however it ends. So
another process can tell that the command is gone, and can remove what it left. The file itself
stays for a while: it tells whoever waits for the command's lock in a store (`guard/lease.py`).
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEPT_SECONDS = 600.0
"""How long the locked file of a killed command stays: longer than its lock is waited for."""

_PREFIX = "polycopy-record-"
IN_USE = "in-use"


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A new, empty directory for a Dagster home, with a locked file; removed at the end.

    DAGSTER_HOME is what it was before, once the context ends.
    """
    before = os.environ.get("DAGSTER_HOME")
    home = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with (home / IN_USE).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield home
            finally:
                if before is None:
                    os.environ.pop("DAGSTER_HOME", None)
                else:
                    os.environ["DAGSTER_HOME"] = before
    finally:
        _remove(home)


def remove_leftovers() -> None:
    """Removes the homes of this user's commands that were killed, their locked files last."""
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            found = home.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue  # a link could lead anywhere
            with (home / IN_USE).open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove_left(home)
        except OSError:
            continue  # in use, just being made, gone, or another user's


def _remove_left(home: Path) -> None:
    in_use = home / IN_USE
    others = [path for path in home.iterdir() if path != in_use]
    if others:
        for path in others:
            _remove(path)
        os.utime(in_use)
    elif time.time() - in_use.stat().st_mtime > KEPT_SECONDS:
        _remove(home)


def _remove(path: Path) -> None:
    # What cannot be removed holds nothing that counts: the record is rebuilt from the store.
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
