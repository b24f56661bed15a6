"""Purging removed wallets: their record, segments and rows go, and may be killed anywhere between.

Of every feed, also of one that is not collected any more.

The tombstone in the store says that a purge has begun, and at the end that it has ended. The record
goes first: whatever is left then is data without a record, of a wallet that is not collected.
"""

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import dagster as dg
import msgspec

from polycopy_assets.batches.manifests import forget
from polycopy_assets.cli.runs import raise_failure, run_job
from polycopy_assets.cli.usable import Say
from polycopy_assets.errors import WarehouseError
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import SOURCE, WAREHOUSE
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import Holder, held, this_process
from polycopy_assets.guard.ours import Job
from polycopy_assets.pipeline.ports import Check
from polycopy_assets.pipeline.purge import commit_emptiness, delete_segments
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.purging import revoke_records
from polycopy_assets.record.wanted import note_purged
from polycopy_assets.resources.chosen import open_store, open_warehouse_for
from polycopy_assets.settings import Settings
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.wanted import read_wanted
from polycopy_assets.text import counted
from polycopy_assets.trades.segment import LATEST
from polycopy_assets.trades.wanted import State
from polycopy_assets.warehouse.feed_table import FeedTable

_SAY_SECONDS = 60.0


def purge(
    instance: dg.DagsterInstance, settings: Settings, chosen: Collection[str], say: Say
) -> list[str]:
    """Deletes what is stored and loaded of those of `chosen` whose tombstones ask for it.

    Waits for a running fetch and a running load, and reads the tombstones only then: a wallet that
    was added again, or purged by another command, in that time is left alone. Returns the wallets
    that were purged. Raises PolycopyError; repeated, it goes on.
    """
    store = open_store(settings, instance)
    with _alone(instance, say) as check:
        known = read_wanted(store)
        wallets = [wallet for wallet in chosen if known.state(wallet) is State.PURGING]
        if not wallets:
            return []
        # Only now: what was waited for may have been the first fetch of another feed.
        feeds = [
            (each, open_warehouse_for(settings, instance, each, each.feed.table).table(each.feed))
            for each in _used(store)
        ]
        forget()
        batches = [_delete(instance, each, table, wallets, check, say) for each, table in feeds]
    # A feed that is collected no more has a table, too.
    names = tuple(each.feed.name for each, _ in feeds)
    every = msgspec.structs.replace(settings, feeds=names)
    for each, _ in feeds:
        job = run_job(instance, every, Job.LOAD, {}, Progress(), feed=each.feed)
        raise_failure(instance, job)
    for batch, (_, table) in zip(batches, feeds, strict=True):
        if batch not in table.loaded_batches():
            raise WarehouseError(f"batch {batch}, which removes the rows, is not in the table yet")
    note_purged(store, wallets)
    return wallets


def _used(store: FeedStore) -> list[FeedStore]:
    """`store`, and the same for each other feed that has left something there."""
    others = [FeedStore(store, feed) for feed in FEEDS.values() if feed is not store.feed]
    return [store, *(each for each in others if _has_objects(each))]


def _has_objects(store: FeedStore) -> bool:
    return any(next(iter(store.list(folder)), None) is not None for folder in store.names.folders)


def _delete(  # noqa: PLR0917 - each is something else
    instance: dg.DagsterInstance,
    store: FeedStore,
    table: FeedTable,
    wallets: Sequence[str],
    check: Check,
    say: Say,
) -> int:
    """Deletes the record and segments of one feed; returns the batch that removes the rows."""
    now = int(time.time())
    revoke_records(FeedRecord(instance, store.feed), wallets)
    CoverageWriter(store, uuid.uuid4().hex).forget(wallets)
    check()
    batch = commit_emptiness(store, wallets, table.loaded_batches(), now)
    deleted = delete_segments(store, wallets, check)
    table.delete_mixed_case(dict.fromkeys(wallets, LATEST - 1))  # whatever the clock says
    say(
        f"{counted(deleted, 'segment')} deleted; the rows leave the table"
        f" {store.feed.table} with batch {batch}"
    )
    return batch


@contextmanager
def _alone(instance: dg.DagsterInstance, say: Say) -> Iterator[Callable[[], None]]:
    """Holds both locks: nothing fetches, combines or loads. Yields a check that it still does."""
    locks, holder = instance_locks(instance), this_process("wallets remove --purge")
    waiting = _Waiting(say)
    with (
        held(locks, SOURCE, holder, waiting=waiting) as source,
        held(locks, WAREHOUSE, holder, waiting=waiting) as warehouse,
    ):

        def check() -> None:
            source.check()
            warehouse.check()

        yield check


class _Waiting:
    """Says now and then which holder it is waiting for."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said = float("-inf")

    def __call__(self, holder: Holder | None) -> None:
        if holder is not None and time.monotonic() - self._said > _SAY_SECONDS:
            self._said = time.monotonic()
            self._say(f"Waiting for {holder}. {holder.advice}")
