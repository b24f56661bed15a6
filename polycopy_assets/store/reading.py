"""Reading objects: one failure concerns the object, many in a row the store."""

from typing import Protocol

from polycopy_assets.errors import ObjectLost, ObjectUnreadable, StoreError

DOWN_AFTER_UNREADABLE = 8
"""After this many unreadable objects in a row, the store counts as failed."""


class Readable(Protocol):
    """Anything that objects can be read from."""

    def read(self, name: str) -> bytes:
        """The object's bytes; raises StoreError."""
        ...


class Readings:
    """Reads objects of `store`, one after another or in several threads."""

    def __init__(self, store: Readable, down_after: int = DOWN_AFTER_UNREADABLE) -> None:
        self._store = store
        self._down_after = down_after
        self._in_a_row = 0

    def read(self, name: str) -> bytes:
        """The object's bytes.

        Raises ObjectLost if there is no such object, ObjectUnreadable if it is there and cannot be
        read, and StoreError after too many of those in a row.
        """
        try:
            data = self._store.read(name)
        except ObjectLost:
            raise
        except StoreError as error:
            self._in_a_row += 1
            if self._in_a_row >= self._down_after:
                raise
            raise ObjectUnreadable(name, f"cannot be read: {error}") from error
        self._in_a_row = 0
        return data
