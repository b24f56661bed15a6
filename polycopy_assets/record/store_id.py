"""Which store a Dagster instance uses: its id is kept, and compared before any work.

The table keeps the id of the store whose batches it holds; it is compared as well.

A mistyped or unmounted store looks empty, and would be filled again: every trade would be fetched
once more. So nothing lists or creates anything in a store before its id matches the one that the
instance keeps.
"""

from typing import TypeVar

import dagster as dg

from polycopy_assets.batches.manifests import read_batches
from polycopy_assets.errors import ObjectDamaged, WrongStore, WrongTable
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.store.base import Store
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.identity import NAME, make_id, new_id, read_id
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.trades.names import wallet_folder
from polycopy_assets.warehouse.feed_table import FeedTable, Held

AStore = TypeVar("AStore", bound=Store)

_KEY = "polycopy/store_id"
EVIDENCE = 20
"""How many recorded wallets are looked up in the store if the ids alone do not decide."""


def kept_id(instance: dg.DagsterInstance) -> str | None:
    """The id of the store that the instance works with; None if there is none yet."""
    return instance.daemon_cursor_storage.get_cursor_values({_KEY}).get(_KEY) or None


def keep_found(instance: dg.DagsterInstance, store: Store) -> None:
    """Has an instance that was just made work with `store`, if it has a readable id.

    Once for all feeds.
    """
    if kept_id(instance):
        return
    found, _ = _found(store)
    if found:
        instance.daemon_cursor_storage.set_cursor_values({_KEY: found})


def checked(instance: dg.DagsterInstance, store: AStore, *, keep: bool = True) -> AStore:
    """`store`, if it is the one that the instance works with; raises WrongStore if it is not.

    A new store gets an id, and a new instance keeps the id that it finds. If an older store or
    instance has no id, it gets one if the recorded segments are there. With `keep` False nothing is
    written. Raises StoreError if the store cannot be read.
    """
    kept = kept_id(instance)
    found, damaged = _found(store)
    if kept and kept == found:
        return store
    agreed = (kept is None or found is None) and _is_theirs(instance, store, kept)
    if not agreed:
        raise _wrong(store, kept, damaged or found)
    if keep:
        _supply(instance, store, kept or found or new_id())
    return store


def checked_table(
    instance: dg.DagsterInstance, store: FeedStore, table: FeedTable, *, keep: bool = True
) -> FeedTable:
    """`table`, if the batches that it holds are those of `store`; raises WrongTable if not.

    A table without an id, from an older version, is accepted if its batches match the store's. With
    `keep` False nothing is written. Raises WarehouseError if the table cannot be read.
    """
    own = kept_id(instance) or _found(store)[0]
    held = table.held()
    if held.store is None and fits(held, store):
        if keep and own and held.batches:
            table.take_over(own)
    elif held.store is None or held.store != own:
        raise WrongTable(table.feed.table, table.uri, held.store, own)
    return table


def fits(held: Held, store: FeedStore) -> bool:
    """Whether the batches that a table holds can be those of `store`.

    At least half of those that are in the store must have the same number of rows; if the table
    keeps no numbers, its last batch must be in the store. A table without batches always fits.
    """
    if not held.batches:
        return True
    rows = {item.batch: item.rows for item in read_batches(store).sound}
    if None in held.batches.values():
        return max(held.batches) in rows
    same = [count == rows[number] for number, count in held.batches.items() if number in rows]
    return bool(same) and 2 * sum(same) >= len(same)


def accept(instance: dg.DagsterInstance, store: Store) -> tuple[str | None, str]:
    """Makes `store` the one that the instance works with; returns the previous id and the new one.

    A store without a readable identity gets one.
    """
    before = kept_id(instance)
    found, _ = _found(store)
    return before, _supply(instance, store, found or new_id())


def _found(store: Store) -> tuple[str | None, str]:
    """The store's id, if it has one, and what is wrong with its identity, if it is damaged."""
    try:
        return read_id(store), ""
    except ObjectDamaged as error:
        return None, str(error)


def _supply(instance: dg.DagsterInstance, store: Store, wanted: str) -> str:
    """Gives the store the id `wanted` if it has no readable one; the instance keeps the result."""
    found, damaged = _found(store)
    if damaged:
        set_aside(store, NAME)
    if found is None:
        found = make_id(store, wanted)
    instance.daemon_cursor_storage.set_cursor_values({_KEY: found})
    return found


def _is_theirs(instance: dg.DagsterInstance, store: Store, kept: str | None) -> bool:
    """Whether the store is the instance's, by what is recorded and by what is there.

    At least half of the recorded segments of up to `EVIDENCE` wallets must be there, of all feeds
    together; a reconciliation deals with lost ones. Without a record there is nothing to lose.
    """
    records = [FeedRecord(instance, feed) for feed in FEEDS.values()]
    recorded = [(wallet, record) for record in records for wallet in sorted(record.versions())]
    if not recorded:
        return kept is None
    step = max(1, len(recorded) // EVIDENCE)
    named = present = 0
    for wallet, record in recorded[::step][:EVIDENCE]:
        if found := record.latest_or_none(wallet):
            names = {segment.name for segment in found.segments}
            folders = {wallet_folder(segment.folder, wallet) for segment in found.segments}
            named += len(names)
            present += len(names & {item.name for each in folders for item in store.list(each)})
    return named > 0 and 2 * present >= named


def _wrong(store: Store, kept: str | None, found: str | None) -> WrongStore:
    place = store.uri(NAME).removesuffix(NAME)
    expected = f"its id should be {kept}" if kept else "the recorded segments are not there"
    return WrongStore(
        f"POLYCOPY_STORE: {place} is not the store of this Dagster instance: {expected}, and its"
        f" id is {found or 'none'}. Nothing was changed. Is POLYCOPY_STORE right, and mounted? If"
        " the store has moved: `polycopy init --accept-store`"
    )
