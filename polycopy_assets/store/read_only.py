"""A store in which nothing is changed, for commands that only look."""

from collections.abc import Mapping
from pathlib import Path

from polycopy_assets.errors import StoreError
from polycopy_assets.store.around import Around
from polycopy_assets.store.base import NO_METADATA


class ReadOnly(Around):
    """`store`, in which every change raises StoreError."""

    def create(self, name: str, data: bytes, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """Raises StoreError."""
        del data, metadata
        raise self._refused(name)

    def create_from(self, name: str, path: Path, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """Raises StoreError."""
        del path, metadata
        raise self._refused(name)

    def delete(self, name: str) -> None:
        """Raises StoreError."""
        raise self._refused(name)

    def check_writable(self) -> None:
        """Raises StoreError."""
        raise self._refused("")

    def _refused(self, name: str) -> StoreError:
        return StoreError(f"{self.uri(name) if name else 'the store'} is only looked at")
