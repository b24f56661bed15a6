"""A directory as a store: for a laptop, and for a server with a disk."""

import filecmp
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from polycopy_assets.errors import ObjectDamaged, ObjectExists, ObjectKept, ObjectLost, StoreError
from polycopy_assets.settings.shared import PRIVATE
from polycopy_assets.store.base import NO_METADATA, Stored
from polycopy_assets.system.sharing import make_directories, make_directory, make_file
from polycopy_assets.text import quoted

_INCOMING = ".incoming"
_STALE_SECONDS = 24 * 3600
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_PROBE = bytes(64 * 1024)
"""Written as a test, because a full disk can still create empty files."""


class LocalStore:
    """Objects as files below `root`.

    An object is written under a temporary name, flushed to the disk, and linked to its final
    name in one step that fails if the name is taken. A crash leaves a whole object or none.
    """

    def __init__(self, root: Path, *, umask: int = PRIVATE) -> None:
        self.root = root.absolute()
        self._umask = umask

    def uri(self, name: str) -> str:
        """The object's path; a folder's path ends in a slash, as its name does."""
        return f"{self._path(name)}{'/' * name.endswith('/')}"

    def list(self, prefix: str) -> Iterator[Stored]:
        """All objects below the directory `prefix`, sorted by name: regular files only."""
        for entry in self._walk(self._inside(prefix)):
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # gone since
            except OSError as error:
                raise self._unlisted(error, Path(entry.path)) from error
            if stat.S_ISREG(found.st_mode):
                yield Stored(self._name(entry), found.st_size)

    def left_out(self, prefix: str) -> Iterator[tuple[str, str]]:
        """(name, what it is) for the links, FIFOs, sockets and devices below `prefix`."""
        for entry in self._walk(self._inside(prefix)):
            if not entry.is_file(follow_symlinks=False) and (what := _odd(Path(entry.path))):
                yield self._name(entry), what

    def _walk(self, directory: Path) -> Iterator[os.DirEntry[str]]:
        """Every entry below `directory` that is not a directory; links are not followed."""
        try:
            with os.scandir(directory) as entries:
                found = sorted(
                    entries, key=lambda e: e.name + "/" * e.is_dir(follow_symlinks=False)
                )
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unlisted(error, directory) from error
        for entry in found:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path))
            else:
                yield entry

    def _name(self, entry: os.DirEntry[str]) -> str:
        return Path(entry.path).relative_to(self.root).as_posix()

    def _unlisted(self, error: OSError, directory: Path) -> StoreError:
        return StoreError(f"cannot list {error.filename or directory}: {error.strerror}")

    def read(self, name: str) -> bytes:
        """The object's bytes; raises ObjectLost if there is no such object."""
        try:
            return self._readable(name).read_bytes()
        except FileNotFoundError as error:
            raise ObjectLost(name, f"is not in {self.root}") from error
        except OSError as error:
            raise StoreError(f"cannot read {self.uri(name)}: {error.strerror}") from error

    def create(self, name: str, data: bytes, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """Durably creates the object; raises ObjectExists if the name has other bytes."""
        del metadata  # a file has no place for it
        self._create(name, lambda file: file.write(data))

    def create_from(self, name: str, path: Path, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """The same with a local file's content."""
        del metadata

        def copy(file: IO[bytes]) -> None:
            with path.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)

        self._create(name, copy)

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The object's own file."""
        path = self._readable(name)
        try:
            path.open("rb").close()
        except FileNotFoundError as error:
            raise ObjectLost(name, f"is not in {self.root}") from error
        except OSError as error:
            raise StoreError(f"cannot read {self.uri(name)}: {error.strerror}") from error
        yield path

    def delete(self, name: str) -> None:
        """Deletes the object; no error if it is gone. Raises ObjectKept if not permitted."""
        try:
            self._inside(name).unlink(missing_ok=True)
        except PermissionError as error:
            raise ObjectKept(f"cannot delete {self.uri(name)}: {error.strerror}") from error
        except OSError as error:
            raise StoreError(f"cannot delete {self.uri(name)}: {error.strerror}") from error

    def place(self) -> None:
        """Nowhere that matters."""
        return

    def check_writable(self) -> None:
        """Raises StoreError if nothing can be created here; removes leftovers of crashes."""
        incoming = self._inside(_INCOMING)
        try:
            make_directories(incoming, self._umask)
            probe = incoming / uuid.uuid4().hex
            for leftover in incoming.iterdir():
                _remove_stale(leftover)
            try:
                _write_durably(probe, lambda file: file.write(_PROBE), self._umask)
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write to {self.root}: {error.strerror}") from error

    def _create(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        final = self._inside(name)
        incoming = self._inside(_INCOMING) / uuid.uuid4().hex
        try:
            make_directories(incoming.parent, self._umask)
            self._make_durable_directory(final.parent)
            try:
                _write_durably(incoming, write, self._umask)
                self._link(incoming, final, name)
            finally:
                incoming.unlink(missing_ok=True)
            _sync_directory(final.parent)
        except OSError as error:
            raise StoreError(f"cannot write {self.uri(name)}: {error.strerror}") from error

    def _link(self, incoming: Path, final: Path, name: str) -> None:
        try:
            os.link(incoming, final)
        except FileExistsError as error:
            if not filecmp.cmp(incoming, final, shallow=False):
                raise ObjectExists(name, f"exists already in {self.root}") from error

    def _make_durable_directory(self, directory: Path) -> None:
        if directory.is_dir():
            return
        self._make_durable_directory(directory.parent)
        make_directory(directory, self._umask)
        _sync_directory(directory.parent)

    def _inside(self, name: str) -> Path:
        """The path of an object or folder; raises ObjectDamaged if something else is there.

        A link, even in a parent, could lead out of the store, and a FIFO would block for ever. The
        root itself may be a link.
        """
        path = self.root
        for part in self._path(name).relative_to(self.root).parts:
            path /= part
            if what := _odd(path):
                raise ObjectDamaged(path, f"is {what}, which does not belong here: remove it")
        if not name.endswith("/") and name != _INCOMING and stat.S_ISDIR(_mode(path)):
            raise ObjectDamaged(path, "is a folder where an object should be: remove it")
        return path

    def _readable(self, name: str) -> Path:
        """The same, for reading: if something else is there, the object is lost."""
        try:
            return self._inside(name)
        except ObjectDamaged as error:
            raise ObjectLost(name, f"is not there: {error}") from error

    def _path(self, name: str) -> Path:
        parts = name.removesuffix("/").split("/")
        if "\0" in name or any(part in {"", ".", ".."} for part in parts):
            raise StoreError(f"not an object name: {quoted(name)}")
        return self.root / name


def _remove_stale(leftover: Path) -> None:
    """Removes a crash's leftover, but not what others are writing or have just moved away."""
    try:
        found = leftover.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) and time.time() - found.st_mtime > _STALE_SECONDS:
        leftover.unlink(missing_ok=True)


def _mode(path: Path) -> int:
    """The mode of `path` itself; 0 if it is not there, or inaccessible."""
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _odd(path: Path) -> str:
    """What `path` is if it is there and neither a file nor a directory; empty otherwise."""
    mode = _mode(path)
    known = not mode or stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return "" if known else _KINDS.get(stat.S_IFMT(mode), "something that is not a file")


def _write_durably(path: Path, write: Callable[[IO[bytes]], object], umask: int) -> None:
    with os.fdopen(make_file(path, umask), "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
