"""Who is wanted: the table `traders`, its copy in the store, and the partitions.

People write `traders`, by command or by SQL. Whatever reads it to register wallets copies it to the
wanted list of the store first (`store/wanted.py`), so that a lost table can be made again. Wallets
that were removed are in that list too, and are not registered by a row alone.
"""

import time
from collections.abc import Collection
from typing import NamedTuple

import dagster as dg
import msgspec

from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.partitions import register, registered, unregister
from polycopy_assets.store.base import Store
from polycopy_assets.store.wanted import Wanted, change_wanted, read_wanted
from polycopy_assets.trades.wallet import sort_out
from polycopy_assets.trades.wanted import Entry, State
from polycopy_assets.warehouse.base import Warehouse


class Registered(NamedTuple):
    """What a reading of `traders` led to.

    `new` are the wallets that got a partition, `refused` the texts that are no wallets, `retired`
    the wallets that have a row although they were removed, and `restored` says how many rows a lost
    table got from the store. `rows` are those that the table had.
    """

    new: list[str]
    refused: list[str]
    retired: list[str]
    restored: int
    rows: int = 0


def register_wanted(
    instance: dg.DagsterInstance, store: Store, table: Warehouse, *, change: bool = True
) -> Registered:
    """Copies `traders` to the store, and registers its wallets.

    If `traders` has no row at all although the store's list wants wallets, the table was lost: it
    is filled from that list. Partitions that a removal has left, because it was killed, are
    deleted. With `change` False only partitions are added. Raises WarehouseError and StoreError,
    before anything is registered.
    """
    texts = table.traders()
    rows, refused = sort_out(texts)
    known = read_wanted(store)
    lost = [] if texts else known.wanted
    if change and lost:
        table.add_traders(lost)
    if change:
        copy_rows(store, rows, known)
    retired = [wallet for wallet in rows if wallet in known.retired]
    new, _ = register(instance, [wallet for wallet in rows if wallet not in known.retired] or lost)
    if change and (new or known.retired):
        # Read again: meanwhile one may have been removed, or added again.
        unregister(instance, read_wanted(store).retired)
    return Registered(new, refused, retired, len(lost), len(texts))


def copy_rows(store: Store, rows: Collection[str], known: Wanted) -> None:
    """Adds the wallets of `traders` to the list in the store if it does not name them."""
    if any(wallet not in known.entries for wallet in rows):
        change_wanted(
            store,
            lambda found: _entries([w for w in rows if w not in found.entries], State.WANTED),
        )


def want(
    instance: dg.DagsterInstance,
    store: Store,
    table: Warehouse,
    wallets: Collection[str],
    *,
    removed: bool = True,
) -> int:
    """Adds wallets to the list in the store, to `traders` and to the partitions, in this order.

    A removed one is collected again, unless `removed` is False. Returns how many `traders` did not
    hold.
    """
    register_wanted(instance, store, table)
    wanted: list[str] = []

    def decide(found: Wanted) -> list[Entry]:
        wanted[:] = [w for w in wallets if removed or w not in found.retired]
        return _entries([w for w in wanted if found.state(w) is not State.WANTED], State.WANTED)

    change_wanted(store, decide)
    added = table.add_traders(wanted)
    register(instance, wanted)
    return added


class Removed(NamedTuple):
    """What a removal found: wallets that were collected, were removed before, and are unknown."""

    removed: list[str]
    before: list[str]
    unknown: list[str]


def retire(
    instance: dg.DagsterInstance,
    store: Store,
    table: Warehouse,
    wallets: Collection[str],
    *,
    purge: bool = False,
) -> Removed:
    """Stops collecting wallets: a tombstone in the store, then the row, then the partition.

    For all feeds. With `purge` the tombstone says that what is stored is being deleted. Wallets of
    which no feed has anything are left alone. Can be repeated after a kill anywhere.
    """
    register_wanted(instance, store, table)  # other rows must not get lost with an old table
    before = read_wanted(store).entries
    partitions = set(registered(instance))
    rows = set(sort_out(table.traders())[0])
    recorded = {w for f in FEEDS.values() for w in FeedRecord(instance, f).versions(wallets)}
    known = [
        w
        for w in wallets
        if any(w in each for each in (before, partitions, rows, recorded)) or _stored(store, w)
    ]
    change_wanted(store, lambda found: _tombstones(known, found, purge=purge))
    table.remove_traders(known)
    unregister(instance, known)
    gone = {w for w in known if w in before and before[w].state is not State.WANTED}
    left = gone - partitions - rows
    return Removed(
        [w for w in known if w not in left],
        [w for w in known if w in left],
        [w for w in wallets if w not in known],
    )


def _stored(store: Store, wallet: str) -> bool:
    folders = (feed.names.wallet(wallet) for feed in FEEDS.values())
    return any(next(iter(store.list(folder)), None) is not None for folder in folders)


def note_purged(store: Store, wallets: Collection[str]) -> None:
    """States that nothing is left of `wallets`, unless they have been added again since."""
    change_wanted(
        store,
        lambda found: _entries(
            [w for w in wallets if found.state(w) is State.PURGING], State.PURGED
        ),
    )


def _tombstones(wallets: Collection[str], found: Wanted, *, purge: bool) -> list[Entry]:
    kept = {State.PURGING, State.PURGED} if purge else {*State} - {State.WANTED}
    some = [w for w in wallets if found.state(w) not in kept]
    return _entries(some, State.PURGING if purge else State.REMOVED)


def _entries(wallets: Collection[str], state: State) -> list[Entry]:
    now = int(time.time())
    return [Entry(wallet, state, now) for wallet in wallets]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where `traders`, the partitions and the list in the store differ; wallets, sorted.

    `without_row` are collected, but not in `traders`; `without_partition` are in `traders`, but
    not collected yet; `lost` are wanted by the list alone; `half_removed` were removed, but still
    have a row or a partition; `purging` are being deleted; `removed` are all that were removed.
    """

    without_row: list[str]
    without_partition: list[str]
    lost: list[str]
    half_removed: list[str]
    purging: list[str]
    removed: list[str]


def standing(partitions: Collection[str], rows: Collection[str], known: Wanted) -> Standing:
    """Compares the three; pure."""
    collected, wanted, retired = set(partitions), set(rows), known.retired
    listed = set(known.wanted)
    return Standing(
        without_row=sorted(collected - wanted - retired.keys()),
        without_partition=sorted(wanted - collected - retired.keys()),
        lost=sorted(listed - collected - wanted),
        half_removed=sorted(retired.keys() & (collected | wanted)),
        purging=sorted(w for w, state in retired.items() if state is State.PURGING),
        removed=sorted(retired),
    )
