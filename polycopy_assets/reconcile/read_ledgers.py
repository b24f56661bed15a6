"""Reads the four ledgers: one pass over the record, one listing of the store, one query a table.

The record is read before the store: a wallet recorded in between then has more segments than its
record names, not a record without segments.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import msgspec

from polycopy_assets.batches.load import unloaded
from polycopy_assets.batches.manifests import Batches, Broken
from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.ledger.facts import Checkpoint, Facts, StoredSegment
from polycopy_assets.ledger.findings import to_read
from polycopy_assets.ledger.kinds import Adopt
from polycopy_assets.migration.old_files import inspect
from polycopy_assets.pipeline.combine import sound_and_broken
from polycopy_assets.reconcile.audit import suspected
from polycopy_assets.reconcile.listing import (
    Refused,
    full_refetches,
    list_store,
    verified,
)
from polycopy_assets.reconcile.read_batches import lacking, unreadable_segments
from polycopy_assets.reconcile.read_record import latest_horizon, read_record, read_replaced_again
from polycopy_assets.reconcile.read_tables import add_tallies, sorted_out
from polycopy_assets.record import refetching as refetching_notes
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.partitions import invalid_keys, registered
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.wanted import Wanted, read_wanted
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Header
from polycopy_assets.warehouse.base import Warehouse

_READERS = 8
UNFINISHED = "a full refetch has not ended"


class Ledgers(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: the facts of every wallet that any ledger knows, and what was refused.

    `batches` are those of the store; a batch that is not in the table counts as broken too if its
    files have changed. `loaded` are the numbers of those in the table, `waiting` are the usable
    ones to be loaded: the first that is not there, and all later ones. `force` are the wallets to
    combine again although no trade is new: some of their trades are no longer in any batch, or
    broken batches name them. `listed` is the store's list of who is wanted, `rows` are the wallets
    of `traders`.
    """

    facts: Mapping[str, Facts]
    refused: Sequence[Refused]
    batches: Batches
    loaded: frozenset[int]
    waiting: Sequence[Header]
    force: frozenset[str]
    listed: Wanted
    rows: frozenset[str]

    @property
    def broken(self) -> Sequence[Broken]:
        """The batches that cannot be used, and why."""
        return self.batches.broken


def read_ledgers(
    instance: dg.DagsterInstance,
    store: FeedStore,
    warehouse: Warehouse,
    *,
    adopt: Adopt,
    verify: bool,
    progress: Progress,
    now: int,
) -> Ledgers:
    """Reads all ledgers and changes none; raises PolycopyError if one of them cannot be read.

    Old files that matter under policy `adopt` are read. With `verify`, so is every recorded
    segment; without it, only those of wallets for which an audit found a loss.
    """
    refused: list[Refused] = []
    record = FeedRecord(instance, store.feed)
    recorded = read_record(record, progress)
    revoked = record.revoked()
    partitions = set(registered(instance))
    refused += [Refused("partitions", key) for key in invalid_keys(instance)]
    stored, old_files, refetching = list_store(store, refused, progress)
    loaded = warehouse.table(store.feed).loaded_batches()
    batches = sound_and_broken(store, loaded, everything=True)
    waiting = unloaded(batches.sound, loaded, store.feed.schema)
    refused += [Refused("store", name) for name in batches.strange]
    coverage = read_coverage(store)
    refused += [Refused("store", name) for name in (*coverage.strange, *coverage.damaged)]
    if recorded and not stored and not batches.sound and not coverage.objects:
        raise PolycopyError(
            f"{counted(len(recorded), 'wallet is', 'wallets are')} recorded, but there is"
            f" nothing in {store.uri(store.names.segments)}:"
            " is POLYCOPY_STORE right? If the data is really lost, `dagster asset wipe"
            f" {store.feed.assets.wallets}` deletes the record, and the next backfill fetches it"
            " all"
        )
    unread: dict[str, dict[str, str]] = defaultdict(dict)
    suspects = recorded if verify else recorded.keys() & suspected(record)
    if suspects:
        to_verify = {wallet: recorded[wallet] for wallet in suspects}
        stored, unread = verified(store, to_verify, stored, progress)
    read_replaced_again(record, store, recorded, stored, unread)
    replaced, marked = full_refetches(store, refetching, stored, coverage, refused)
    # Noted by a run that was killed before it wrote the marker, or after it removed the marker.
    noted = refetching_notes.unfinished(record)
    progress.begin("reading the tables")
    lacks = lacking(recorded, batches, waiting)
    uncombined = {wallet: recorded[wallet] for wallet in lacks.new}
    for wallet, why in unreadable_segments(store, uncombined, batches.held, progress).items():
        unread[wallet] |= why
    rows = {wallet for wallet, _ in sorted_out("traders", warehouse.traders(), refused)}
    listed = read_wanted(store)
    refused += [Refused("store", name) for name in (*listed.strange, *listed.damaged)]
    wanted = {*rows, *listed.wanted}
    # The older job collected the first feed alone.
    checkpoint = warehouse.checkpoint() if store.feed.bare else None
    ticks: dict[str, list[Checkpoint]] = defaultdict(list)
    texts = [row.wallet_address for row in checkpoint or ()]
    for wallet, number in sorted_out("checkpoint", texts, refused):
        ticks[wallet].append((checkpoint or [])[number])
    latest = latest_horizon(recorded.values(), coverage, now)
    facts = {
        wallet: Facts(
            wallet=wallet,
            wanted=wallet in wanted,
            unlisted=wallet in wanted and wallet not in rows,
            retired=listed.retired.get(wallet),
            registered=wallet in partitions,
            record=recorded.get(wallet),
            revoked=revoked.get(wallet),
            stored=_without(stored.get(wallet, ()), replaced.get(wallet, ())),
            covered=coverage.of(wallet),
            replaced=tuple(replaced.get(wallet, ())),
            refetching=UNFINISHED if wallet in noted or wallet in replaced else "",
            marker_damaged=marked.get(wallet, ""),
            pending=lacks.pending.get(wallet, ""),
            unreadable=unread.get(wallet, {}),
            horizon=latest if wallet in recorded and recorded[wallet].horizon else now,
            now=now,
            old_files=tuple(old_files.get(wallet, ())),
            ticks=tuple(ticks.get(wallet, ())),
            has_checkpoint=checkpoint is not None,
            row=store.feed.row,
            rows=store.feed.rows,
        )
        for wallet in sorted(
            {
                *recorded,
                *revoked,
                *partitions,
                *stored,
                *coverage.statements,
                *old_files,
                *ticks,
                *wanted,
                *listed.retired,
                *marked,
            }
        )
    }
    _inspect(store, facts, adopt, now, progress)
    add_tallies(warehouse.table(store.feed), facts, batches.held, refused, progress, by_id=verify)
    progress.begin("")
    return Ledgers(
        facts=facts,
        refused=refused,
        batches=batches,
        loaded=frozenset(loaded),
        waiting=waiting,
        force=frozenset(lacks.force),
        listed=listed,
        rows=frozenset(rows),
    )


def _without(
    stored: Sequence[StoredSegment], replaced: Sequence[StoredSegment]
) -> tuple[StoredSegment, ...]:
    return tuple(item for item in stored if item not in replaced)


def _inspect(
    store: FeedStore, facts: dict[str, Facts], adopt: Adopt, now: int, progress: Progress
) -> None:
    """Reads the old files that matter for a finding."""
    deciding = [item for item in facts.values() if to_read(item, adopt=adopt, now=now)]
    progress.begin("reading the old job's files", len(deciding))

    def read(item: Facts) -> Facts:
        (file,) = item.old_files
        found = inspect(store, file, item.wallet)
        progress.step.done += 1
        return msgspec.structs.replace(item, old_files=(found,))

    with ThreadPoolExecutor(_READERS, thread_name_prefix="inspect") as readers:
        facts.update((item.wallet, item) for item in readers.map(read, deciding))
