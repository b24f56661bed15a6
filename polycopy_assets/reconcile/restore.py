"""Rebuilds a feed's record in a new instance: a snapshot, and what the store says since then.

Asks the source for nothing. A record of the snapshot counts if the store holds what it names. A
wallet whose segments say more, or are others by now, is recorded by what is stored, as a
reconciliation does it (`recording.py`). What is lost is revoked, so that a fetch requests it.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import dagster as dg
import msgspec

from polycopy_assets.batches.manifests import sound_batches
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.ledger.facts import Facts
from polycopy_assets.ledger.failure import Failure
from polycopy_assets.ledger.restored import Restored, restored
from polycopy_assets.ledger.source_counts import read_version
from polycopy_assets.reconcile.listing import Refused, full_refetches, list_store
from polycopy_assets.reconcile.read_ledgers import UNFINISHED
from polycopy_assets.reconcile.read_record import as_recorded, latest_horizon
from polycopy_assets.reconcile.recording import Recording
from polycopy_assets.record import attempts, counts, loads, materializations, refetching, snapshot
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import DATA_VERSION_TAG, Record
from polycopy_assets.record.partitions import register, set_registered_at
from polycopy_assets.record.private import runless
from polycopy_assets.record.snapshot import Line, State
from polycopy_assets.record.store_id import keep_found
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.wanted import read_wanted
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.wanted import DELETED

_LOST = "the store holds less than the snapshot of the record says"

Event = dg.AssetMaterialization | dg.AssetObservation


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How many wallets have a record from the snapshot, from what is stored, and a revoked one.

    `snapshot` is the name of the one that was used, empty without one, and `state` what it says;
    `written` are the ids of the events that wrote its records, by wallet; `failures` are the
    wallets whose stored segments could not be read.
    """

    snapshot: str
    state: State
    written: Mapping[str, int]
    kept: int
    rebuilt: int
    revoked: int
    failures: Sequence[Failure]
    seconds: float


def restore(
    instance: dg.DagsterInstance, store: FeedStore, *, change: bool, say: Callable[[str], None]
) -> Report:
    """Writes the record of the feed of `store` into `instance`, which has none.

    With `change`, damaged objects are set aside. Raises StoreError if the store cannot be read.
    """
    started, now = time.monotonic(), int(time.time())
    keep_found(instance, store)
    record = FeedRecord(instance, store.feed)
    name, found, records = snapshot.newest(store, say, change=change)
    facts = _facts(store, found, records, now)
    unexplained = _unexplained(store, facts)
    decided = {
        wallet: Restored(keep=True) if wallet in unexplained else restored(item, now)
        for wallet, item in facts.items()
    }
    _register(instance, facts, found.lines)
    _note_refetches(record, found, facts, decided)
    _write(instance, _records(store.feed, records, facts, decided))
    ids = record.latest_ids()
    rebuild = any(item.rebuild for item in decided.values())
    held = sound_batches(store).held if rebuild else Holdings(store.feed.schema)
    recording = Recording(
        instance,
        store,
        held,
        Progress(),
        lambda: None,
        now=now,
        say=say,
        show=lambda: None,
    )
    recording.record_stored([item.rebuild for item in decided.values() if item.rebuild])
    _write(instance, _notes(store.feed, found, decided))
    return Report(
        snapshot=name,
        state=found,
        written={wallet: ids[wallet] for wallet, item in decided.items() if item.keep},
        kept=sum(item.keep and not item.rebuild for item in decided.values()),
        rebuilt=len(recording.segments),
        revoked=sum(item.revoke is not None for item in decided.values()),
        failures=recording.failures,
        seconds=time.monotonic() - started,
    )


def _unexplained(store: FeedStore, facts: Mapping[str, Facts]) -> Collection[str]:
    """The wallets whose records stay although the store holds nothing of them.

    If it holds nothing of any wallet, its trades may not be mounted, and nothing is taken for lost:
    a reconciliation says so. But not if a purge has deleted them. It leaves its tombstone, or, if
    the wallet was added again since, a batch which says that the wallet has no trades.
    """
    if any(item.stored or item.covered for item in facts.values()):
        return ()
    doubtful = {
        w: r for w, item in facts.items() if (r := item.record) and item.retired not in DELETED
    }
    held = sound_batches(store).held if doubtful else Holdings(store.feed.schema)
    return {
        wallet
        for wallet, record in doubtful.items()
        if not (record.rows and held.names(wallet) and not held.get(wallet).packed)
    }


def _facts(
    store: FeedStore, found: State, records: Mapping[str, Record], now: int
) -> dict[str, Facts]:
    """What snapshot and store say of each wallet; the store is listed once."""
    lines = found.lines
    refused: list[Refused] = []
    stored, old_files, marked = list_store(store, refused, Progress())
    coverage, retired = read_coverage(store), read_wanted(store).retired
    replaced, damaged = full_refetches(store, marked, stored, coverage, refused)
    recorded = {wallet: as_recorded(record) for wallet, record in records.items()}
    latest = latest_horizon(recorded.values(), coverage, now)
    return {
        wallet: Facts(
            wallet=wallet,
            record=recorded.get(wallet),
            revoked=lines[wallet].revoked if wallet in lines else None,
            stored=tuple(
                item for item in stored.get(wallet, ()) if item not in replaced.get(wallet, ())
            ),
            covered=coverage.of(wallet),
            replaced=tuple(replaced.get(wallet, ())),
            refetching=UNFINISHED if wallet in damaged else "",
            horizon=latest if wallet in recorded and recorded[wallet].horizon else now,
            now=now,
            old_files=tuple(old_files.get(wallet, ())),
            retired=retired.get(wallet),
        )
        for wallet in sorted({*lines, *stored, *coverage.statements, *marked})
    }


def _register(
    instance: dg.DagsterInstance, facts: Mapping[str, Facts], lines: Mapping[str, Line]
) -> None:
    """Registers the wallets of the snapshot, in their order, and others that are stored.

    Not those that were removed. Those that another feed has registered stay as they are.
    """
    collected = [wallet for wallet, item in facts.items() if item.retired is None]
    times = {w: lines[w].registered for w in collected if w in lines}
    before = {w: time for w, time in times.items() if time is not None}
    others = [wallet for wallet in collected if wallet not in lines]
    new, _ = register(instance, [*sorted(before, key=before.__getitem__), *others])
    set_registered_at(instance, {w: before[w] for w in new if w in before})


def _note_refetches(
    record: FeedRecord,
    found: State,
    facts: Mapping[str, Facts],
    decided: Mapping[str, Restored],
) -> None:
    """Notes the full refetches that have not ended.

    One without a marker had not begun to replace anything; it still counts if the wallet is as the
    snapshot says.
    """
    noted = found.header.refetching
    for wallet, state in noted.items():
        item = decided.get(wallet)
        untouched = item is not None and item.keep and not item.rebuild
        if wallet in facts and (facts[wallet].refetching or untouched):
            refetching.note(record, wallet, refetching.State(state))
    marked = [wallet for wallet, item in facts.items() if item.refetching]
    if marked:
        refetching.note_marked(record, marked)


def _records(
    feed: Feed,
    records: Mapping[str, Record],
    facts: Mapping[str, Facts],
    decided: Mapping[str, Restored],
) -> Iterator[Event]:
    for wallet, item in decided.items():
        if item.keep:
            record = records[wallet]
            yield materializations.materialization(feed, wallet, record.version, record.metadata)
        elif item.revoke is not None:
            was = facts[wallet].revoked is not None
            why = "it was revoked before" if was else _LOST
            yield materializations.revocation(feed, wallet, why, item.revoke)


def _notes(feed: Feed, found: State, decided: Mapping[str, Restored]) -> Iterator[Event]:
    """What a snapshot says beside the records; the order of counts is that of the requests."""
    lines = found.lines.values()
    for line in lines:
        if line.attempt is not None and not decided[line.wallet].rebuild:
            yield attempts.event(feed, line.attempt)
    known = [count for line in lines if (count := read_version(line.wallet, line.count))]
    for count in sorted(known, key=lambda each: each.asked):
        yield counts.materialization(feed, count)
    for line in lines:
        if line.not_counted:
            yield counts.failure(feed, Failed(wallet=line.wallet, reason=line.not_counted))
    for load in found.header.loads:
        yield dg.AssetMaterialization(
            asset_key=dg.AssetKey(load.asset),
            metadata={loads.RECORD: load.record} if load.record else {},
            tags={DATA_VERSION_TAG: load.version} if load.version else {},
        )


def _write(instance: dg.DagsterInstance, events: Iterator[Event]) -> None:
    for _ in runless.write(instance, events):
        pass
