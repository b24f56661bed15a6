"""Removes stored segments that do not count any more, once the record says so.

They are harmless: the record says which segments count, and every reader follows it. So a wallet
whose leftovers cannot be removed has not failed, and the next fetch of the wallet tries again.
"""

import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from polycopy_assets.errors import PolycopyError, Stopped
from polycopy_assets.store.base import Store

_MANY = 64
_AT_ONCE = 8
_LOG = logging.getLogger(__name__)


class Leftovers:
    """Collects leftovers of recorded wallets, and removes them from `store`, many at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: set[str] = set()
        self._kept = ""

    @property
    def many(self) -> bool:
        """Whether it is time to remove them."""
        return len(self._names) >= _MANY

    def add(self, names: Collection[str]) -> None:
        """Takes the leftovers of a wallet that is recorded."""
        self._names.update(names)

    def remove(self) -> None:
        """Removes what was collected, in any order; after a failure, nothing more in this run."""
        names, self._names = sorted(self._names), set()
        if not names or self._kept:
            return
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="remove") as removers:
            errors = [error for error in removers.map(self._remove, names) if error]
        if errors:
            self._kept = errors[0]
            _LOG.warning(
                "%d segments that no longer count could not be removed; the next fetch of their"
                " wallets tries again: %s",
                len(errors),
                self._kept,
            )

    def _remove(self, name: str) -> str:
        try:
            self._store.delete(name)
        except Stopped:
            raise
        except PolycopyError as error:
            return str(error)
        return ""
