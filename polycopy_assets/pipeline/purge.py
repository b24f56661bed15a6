"""Deleting what is stored of removed wallets, so that it also stays out of a table made again.

A batch that claims all of a wallet's time without a trade removes its rows from every table that
loads it, in the transaction of that load. The files of earlier batches stay as they are.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from polycopy_assets.batches.combine import combine
from polycopy_assets.batches.plan import next_batch
from polycopy_assets.errors import ObjectExists
from polycopy_assets.pipeline.combine import ATTEMPTS, sound_and_broken
from polycopy_assets.pipeline.ports import Check
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.trades.batch import empty_claim
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.interval import BEGINNING, Interval
from polycopy_assets.trades.segment import LATEST, data_version

_DELETERS = 8
_CHECKED = 200
"""Objects after which a deletion asks whether it may go on: a wallet may have thousands."""


def commit_emptiness(
    store: FeedStore, wallets: Collection[str], loaded: Collection[int], now: int
) -> int:
    """Commits a batch that says that `wallets` have no trades; returns its number.

    `loaded` are the numbers of the table's batches, `now` is epoch seconds. For a process that
    holds the lock `warehouse`. Raises StoreError, ObjectExists if others take every number.
    """
    for attempt in range(ATTEMPTS):
        found = sound_and_broken(store, loaded)
        number = next_batch(store.names, found.sound, loaded, found.broken)
        spans = {w: Interval(BEGINNING, _until(w, found.held, now)) for w in sorted(wallets)}
        claims = [empty_claim(store.names, w, span, _NO_ROWS) for w, span in spans.items()]
        try:
            combine(store, claims, number)
        except ObjectExists:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return number
    raise AssertionError("unreachable")


def delete_segments(store: FeedStore, wallets: Collection[str], check: Check) -> int:
    """Deletes the segments of `wallets`, and markers of full refetches; returns how many objects.

    An older job's files stay. `check` raises Stopped if it must not go on, and is called now and
    then. Raises StoreError, for instance ObjectKept.
    """
    deleted = 0
    with ThreadPoolExecutor(_DELETERS, thread_name_prefix="delete") as deleters:
        for wallet in wallets:
            check()
            names = list(_ours(store, wallet))
            for _ in deleters.map(store.delete, names):
                deleted += 1
                if deleted % _CHECKED == 0:
                    check()  # if it raises, what is not begun is cancelled
    return deleted


_NO_ROWS = data_version(())


def _ours(store: FeedStore, wallet: str) -> Iterator[str]:
    names = store.names
    for item in store.list(names.wallet(wallet)):
        if names.parse_segment(item.name) is not None or item.name == names.marker(wallet):
            yield item.name


def _until(wallet: str, held: Holdings, now: int) -> int:
    """Until when the batches hold, or the table can have, trades of the wallet."""
    ends = [tile.until for tile in held.get(wallet).tiles]
    return min(max([now, *ends]), LATEST - 1)
