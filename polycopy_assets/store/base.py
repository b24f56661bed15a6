"""The contract that every store fulfils."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

import google_crc32c

NO_METADATA: Mapping[str, str] = MappingProxyType({})


class Stored(NamedTuple):
    """An object as listed: name, size in bytes, and its checksum if the listing has it."""

    name: str
    size: int
    crc32c: str | None = None


class Store(Protocol):
    """Objects appear whole or not at all, are never rewritten, and are listed by prefix.

    Every method raises StoreError when the store cannot do it; a failed listing is an error,
    never an empty one.
    """

    def uri(self, name: str) -> str:
        """The object's address, for people and for loaders."""
        ...

    def list(self, prefix: str) -> Iterator[Stored]:
        """All objects whose names start with `prefix` (which ends in `/`), sorted by name."""
        ...

    def left_out(self, prefix: str) -> Iterator[tuple[str, str]]:
        """(name, what it is) for everything below `prefix` that is not an object, such as a link.

        `list` leaves it out, and nothing reads or follows it.
        """
        ...

    def read(self, name: str) -> bytes:
        """The object's bytes; raises ObjectLost if there is no such object."""
        ...

    def create(self, name: str, data: bytes, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """Durably creates the object, whole; raises ObjectExists if the name has other bytes.

        Creating the same bytes again is no error: a request may have succeeded although its answer
        was lost. `metadata` is for people who look at the object; a store may drop it.
        """
        ...

    def create_from(self, name: str, path: Path, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """The same with a local file's content; the file is left alone."""
        ...

    def local(self, name: str) -> AbstractContextManager[Path]:
        """The object as a local file to read, for as long as the context is open."""
        ...

    def delete(self, name: str) -> None:
        """Deletes the object; no error if it is gone. Raises ObjectKept if not permitted."""
        ...

    def place(self) -> tuple[str, str] | None:
        """Where the objects are, and what kind of place that is, by Google's names.

        None if it does not matter, or we may not know. Raises StoreError, as `check_writable` does,
        if that place does not keep objects.
        """
        ...

    def check_writable(self) -> None:
        """Raises StoreError if nothing can be created here."""
        ...


def crc32c(data: bytes) -> str:
    """The checksum that records and manifests carry: CRC32C as eight hex digits."""
    return f"{google_crc32c.value(data):08x}"
