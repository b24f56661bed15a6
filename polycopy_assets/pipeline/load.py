"""Combining what is new, and loading it: the record in, the table out, and a report."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from polycopy_assets.batches.load import agreed, load, unloaded
from polycopy_assets.batches.manifest_files import broken_batch
from polycopy_assets.batches.manifests import Broken, read_batches, sound_batches
from polycopy_assets.batches.plan import pending
from polycopy_assets.errors import BatchBroken, WarehouseBusy, WarehouseError
from polycopy_assets.pipeline.combine import combine_new
from polycopy_assets.pipeline.ports import LoadPorts, Records
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Header, Manifest
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.warehouse.feed_table import FeedTable, Loaded


class LoadReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a load: batches, rows in and out, and the last batch that the table has."""

    batches: int = 0
    inserted: int = 0
    deleted: int = 0
    last_batch: int = 0


def load_batches(ports: LoadPorts) -> LoadReport:
    """Loads the batches that the table lacks. Raises WarehouseError, StoreError."""
    inserted = deleted = batches = 0
    ports.check()
    for manifest, loaded in _load(ports):
        batches += 1
        inserted += loaded.inserted
        deleted += loaded.deleted
        ports.log.info(
            f"batch {manifest.batch}: {counted(loaded.inserted, 'row')} in, "
            f"{counted(loaded.deleted, 'row')} out"
        )
        ports.check()
    if batches:
        ports.table.describe()
    return LoadReport(
        batches=batches,
        inserted=inserted,
        deleted=deleted,
        last_batch=max(ports.table.loaded_batches(), default=0),
    )


def _load(ports: LoadPorts) -> Iterator[tuple[Manifest, Loaded]]:
    """Loads what the table lacks, batch by batch.

    If a batch is broken, its wallets are combined again, it is set aside, and the load continues
    with the batches that exist then. A broken batch among the new ones is an error.
    """
    batches = sound_batches(ports.store)
    before = batches.listed
    found: dict[int, Broken] = {}
    while True:
        try:
            yield from load(ports.table, batches, ports.store, ports.step)
            break
        except BatchBroken as error:
            number = error.batch
            if number in found or number not in before:
                raise
            ports.log.warning(f"{error}; it is combined again")
            found[number] = broken_batch(ports.store, before[number], number, error.why)
            combined = combine_new(
                ports.records,
                ports.store,
                ports.table.loaded_batches(),
                ports.log,
                ports.check,
                broken=list(found.values()),
                memory=ports.memory,
                step=ports.step,
            )
            batches = sound_batches(ports.store, {item.batch for item in combined.batches})
    held = agreed(ports.table.held(), batches.listed)
    left = unloaded(batches.sound, held, ports.store.feed.schema)
    if left:
        raise WarehouseError(f"batch {left[0].batch} was loaded, but the table does not list it")


class Lacking(msgspec.Struct, frozen=True, kw_only=True):
    """What the table lacks of the record; `unknown` says why its batches could not be read.

    `held` is what the sound batches hold, `last_listed` the last batch of the store, and
    `last_loaded` that of the table; None if that could not be read.
    """

    held: Holdings
    uncombined: Sequence[str]
    broken: Sequence[Broken]
    unloaded: Sequence[Header]
    unknown: str
    last_listed: int
    last_loaded: int | None

    def why(self, *, left_out: int = 0, stuck: int = 0) -> str:
        """What is lacking, in one line; empty if nothing is.

        `left_out` wallets and `stuck` broken batches are already known and do not count.
        """
        wallets = self.uncombined
        if len(wallets) > left_out:
            named = counted(len(wallets), "wallet is", "wallets are")
            return f"{named} recorded and not combined, first {wallets[0]}"
        if len(self.broken) > stuck:
            return f"{self.broken[0].name} is broken: {self.broken[0].why}"
        if self.unknown:
            return f"it is unknown what the table lacks: {self.unknown}"
        return f"batch {self.unloaded[0].batch} is not in the table" if self.unloaded else ""


def lacking(
    versions: Mapping[str, str], store: FeedStore, open_table: Callable[[], FeedTable]
) -> Lacking:
    """What the table lacks of the record with these data `versions`."""
    batches = read_batches(store)
    missing: Sequence[Header] = []
    unknown = ""
    last: int | None = None
    try:
        loaded = open_table().held()
        missing = unloaded(batches.sound, agreed(loaded, batches.listed), store.feed.schema)
        last = max(loaded.batches, default=0)
    except WarehouseBusy as error:
        unknown = str(error)  # a later load waits for it again
    return Lacking(
        held=batches.held,
        uncombined=pending(versions, batches.held),
        broken=batches.broken,
        unloaded=missing,
        unknown=unknown,
        last_listed=max(batches.listed, default=0),
        last_loaded=last,
    )


def lacking_still(
    before: Mapping[str, str],
    records: Records,
    store: FeedStore,
    open_table: Callable[[], FeedTable],
    lacked: Lacking,
) -> Lacking:
    """What the table lacks, after a load, of the record with the data versions `before`.

    `lacked` is what it lacked before the load. The next load loads what was recorded since, and the
    batches since: those of the load itself are in the table, or it has failed, and what another
    machine has combined in the same store is loaded by that machine.
    """
    now = records.versions()
    same = {wallet: version for wallet, version in before.items() if now.get(wallet) == version}
    still = lacking(same, store, open_table)
    older = [header for header in still.unloaded if header.batch <= lacked.last_listed]
    return msgspec.structs.replace(still, unloaded=older)


def lost_rows(table: FeedTable, found: Lacking, versions: Mapping[str, str]) -> str:
    """A message if the table has fewer rows than were loaded into it; empty if not.

    More rows are fine: others may write some. Costs no query.
    """
    expected = found.held.rows(versions)
    if table.has_rows(expected):
        return ""
    return (
        f"the table has {counted(table.count_rows(), 'row')}, but {expected:,} were loaded into it:"
        " something else has deleted rows. `polycopy reconcile --apply` loads them again"
    )
