"""The records of wallets that are about to be fetched, read a page at a time."""

import threading
from collections.abc import Sequence
from itertools import islice

from polycopy_assets.errors import PolycopyError
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record

PAGE = 200


class RecordsAhead:
    """The records of `wallets`, which are asked for roughly in this order, from several threads.

    A query for each wallet would take longer than the request for its new trades.
    """

    def __init__(self, record: FeedRecord, wallets: Sequence[str]) -> None:
        self._record = record
        self._left = iter(wallets)
        self._lock = threading.Lock()
        self._read: dict[str, Record | PolycopyError | None] = {}

    def take(self, wallet: str) -> Record | None:
        """The record of one of the wallets, once; raises PolycopyError if it cannot be read."""
        with self._lock:
            while wallet not in self._read and self._read_page():
                pass
            found = self._read.pop(wallet, None)
        if isinstance(found, PolycopyError):
            raise found
        return found

    def _read_page(self) -> bool:
        """Reads the next page; False if there is none."""
        page = list(islice(self._left, PAGE))
        self._read |= dict.fromkeys(page)
        self._read |= dict(self._record.read(page))
        return bool(page)
