"""Which store a Dagster instance works with: its id is kept, and compared before anything is done.

The table carries the id of the store whose batches it holds; it is compared as well.

A store that is mistyped or not mounted looks like an empty one, and an empty one would be filled
again: every trade fetched once more, and the record moved to it. So nothing lists or creates
anything in a store before its id is the one that the instance keeps.
"""

import dagster as dg

from polycopy_assets import record
from polycopy_assets.errors import ObjectDamaged, WrongStore, WrongTable
from polycopy_assets.fetch.stored import set_aside
from polycopy_assets.manifests import read_batches
from polycopy_assets.store.base import Store
from polycopy_assets.store.identity import NAME, make_id, new_id, read_id
from polycopy_assets.trades.segment import wallet_prefix
from polycopy_assets.warehouse.base import Held, Warehouse

_KEY = "polycopy/store_id"
EVIDENCE = 20
"""Recorded wallets whose segments are looked for where the ids alone do not tell."""


def kept_id(instance: dg.DagsterInstance) -> str | None:
    """The id of the store that the instance works with; None if it has met none yet."""
    return instance.daemon_cursor_storage.get_cursor_values({_KEY}).get(_KEY) or None


def checked(instance: dg.DagsterInstance, store: Store, *, keep: bool = True) -> Store:
    """`store`, if it is the one that the instance works with; raises WrongStore if it is not.

    A new store gets an id, and a new instance keeps the id that it finds. Where one of the two is
    missing from before, it is supplied if the recorded segments are there. With `keep` False
    nothing is written. Raises StoreError if the store cannot be read.
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
    instance: dg.DagsterInstance, store: Store, table: Warehouse, *, keep: bool = True
) -> Warehouse:
    """`table`, if the batches that it holds are those of `store`; raises WrongTable if not.

    A table from before there were ids is taken over if its batches fit to those of the store. With
    `keep` False nothing is written. Raises WarehouseError if the table cannot be read.
    """
    own = kept_id(instance) or _found(store)[0]
    held = table.held()
    if held.store is None and fits(held, store):
        if keep and own and held.batches:
            table.take_over(own)
    elif held.store is None or held.store != own:
        raise WrongTable(table.uri, held.store, own)
    return table


def fits(held: Held, store: Store) -> bool:
    """Whether the batches that a table holds can be those of `store`.

    At least half of those that are in the store have the same rows; where rows are not kept, the
    last one is in the store. Without any batch there is nothing to contradict.
    """
    if not held.batches:
        return True
    rows = {item.batch: item.rows for item in read_batches(store).sound}
    if None in held.batches.values():
        return max(held.batches) in rows
    same = [count == rows[number] for number, count in held.batches.items() if number in rows]
    return bool(same) and 2 * sum(same) >= len(same)


def accept(instance: dg.DagsterInstance, store: Store) -> tuple[str | None, str]:
    """Makes `store` the one that the instance works with; the id it kept before, and the new one.

    A store without a legible identity gets one.
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
    """Gives the store the id `wanted` if it has no legible one, and keeps what it has then."""
    found, damaged = _found(store)
    if damaged:
        set_aside(store, NAME)
    if found is None:
        found = make_id(store, wanted)
    instance.daemon_cursor_storage.set_cursor_values({_KEY: found})
    return found


def _is_theirs(instance: dg.DagsterInstance, store: Store, kept: str | None) -> bool:
    """Whether the store is the instance's, by what is recorded and by what is there.

    At least half of the recorded segments of up to `EVIDENCE` wallets have to be there: some may be
    lost, and then are for a reconciliation. Without a record there is nothing to lose.
    """
    recorded = sorted(record.versions(instance))
    if not recorded:
        return kept is None
    step = max(1, len(recorded) // EVIDENCE)
    named = present = 0
    for wallet in recorded[::step][:EVIDENCE]:
        if found := record.record_or_none(instance, wallet):
            names = {segment.name for segment in found.segments}
            named += len(names)
            present += len(names & {item.name for item in store.list(wallet_prefix(wallet))})
    return named > 0 and 2 * present >= named


def _wrong(store: Store, kept: str | None, found: str | None) -> WrongStore:
    place = store.uri(NAME).removesuffix(NAME)
    expected = f"its id should be {kept}" if kept else "the recorded segments are not there"
    return WrongStore(
        f"POLYCOPY_STORE: {place} is not the store of this Dagster instance: {expected}, and its"
        f" id is {found or 'none'}. Nothing was changed. Is POLYCOPY_STORE right, and mounted? If"
        " it is, because the store has moved: `polycopy init --accept-store`"
    )
