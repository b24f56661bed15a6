"""A store around another one: what it does not do in its own way, that one does."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from polycopy_assets.store.base import NO_METADATA, Store, Stored


class Around:
    """Passes everything on to `store`; see `store.base.Store`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def uri(self, name: str) -> str:
        """The object's address."""
        return self._store.uri(name)

    def list(self, prefix: str) -> Iterator[Stored]:
        """All objects whose names start with `prefix`, sorted by name."""
        return self._store.list(prefix)

    def left_out(self, prefix: str) -> Iterator[tuple[str, str]]:
        """(name, what it is) for everything below `prefix` that is not an object."""
        return self._store.left_out(prefix)

    def read(self, name: str) -> bytes:
        """The object's bytes; raises ObjectLost if there is no such object."""
        return self._store.read(name)

    def create(self, name: str, data: bytes, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """Durably creates the object, whole; raises ObjectExists if the name has other bytes."""
        self._store.create(name, data, metadata)

    def create_from(self, name: str, path: Path, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """The same with a local file's content."""
        self._store.create_from(name, path, metadata)

    def local(self, name: str) -> AbstractContextManager[Path]:
        """The object as a local file to read."""
        return self._store.local(name)

    def delete(self, name: str) -> None:
        """Deletes the object; no error if it is gone. Raises ObjectKept if not permitted."""
        self._store.delete(name)

    def place(self) -> tuple[str, str] | None:
        """Where the objects are."""
        return self._store.place()

    def check_writable(self) -> None:
        """Raises StoreError if nothing can be created here."""
        self._store.check_writable()
