"""Reading objects: one that cannot be read is its own trouble, many in a row the store's."""

from typing import Protocol

from polycopy_assets.errors import ObjectLost, ObjectUnreadable, StoreError

GIVEN_UP_AFTER = 8
"""Objects in a row that could not be read after which the store counts as out of order."""


class Readable(Protocol):
    """Whatever objects can be read from."""

    def read(self, name: str) -> bytes:
        """The object's bytes; raises StoreError."""
        ...


class Readings:
    """Reads objects of `store`, one after another or in several threads."""

    def __init__(self, store: Readable, given_up_after: int = GIVEN_UP_AFTER) -> None:
        self._store = store
        self._given_up_after = given_up_after
        self._in_a_row = 0

    def read(self, name: str) -> bytes:
        """The object's bytes.

        Raises ObjectLost if there is no such object, ObjectUnreadable if it is there and cannot be
        read, and StoreError if that was so of too many in a row.
        """
        try:
            data = self._store.read(name)
        except ObjectLost:
            raise
        except StoreError as error:
            self._in_a_row += 1
            if self._in_a_row >= self._given_up_after:
                raise
            raise ObjectUnreadable(f"{name} cannot be read: {error}") from error
        self._in_a_row = 0
        return data
