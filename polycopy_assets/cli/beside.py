"""Combining and loading beside a fetch, so that the table is complete soon after the last page.

A thread of the fetch's own process does it whenever enough trades are recorded. Nothing relies on
the thread: it writes no events, and if it fails or never gets the lock, the load after the fetch
does all the work. Batches and table say themselves what they hold, so that load only records what
it finds done. Broken batches are left to it as well, because it reports what it sets aside.
"""

import logging
import threading
from types import TracebackType
from typing import Self

import dagster as dg

from polycopy_assets.batches.load import load
from polycopy_assets.batches.manifests import forget, sound_batches
from polycopy_assets.errors import RunEnded, StoreError, WarehouseError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import WAREHOUSE
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import Lock, this_process
from polycopy_assets.pipeline.combine import combine_new, sound_and_broken
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.store_id import checked_table
from polycopy_assets.resources.chosen import open_store, warehouse_resource
from polycopy_assets.settings import Settings
from polycopy_assets.system.threads import BESIDE
from polycopy_assets.warehouse.feed_table import FeedTable

SHARE = 20
"""Each load brings at least this fraction of what was fetched: however much that is, there are not
many batches, and little is left at the end."""

POLL_SECONDS = 0.5
SHOWN_SECONDS = 0.2
"""How often the display follows a load that the end of the fetch waits for."""

STOP_SECONDS = 10.0
"""How long a command that was told to stop waits for the thread. The thread may be killed at any
point, like the process."""

TOLD_SECONDS = 1.0
"""The same, if seconds count: the fetch has used some already."""

_LOG = logging.getLogger(__name__)
_FILE_SECONDS = 1.0
"""How long a load waits for a DuckDB file that somebody else has open: another one comes soon."""


class Beside:
    """Combines and loads what a fetch has recorded, while the context lasts.

    `progress`, `deadline` and `feed` are the fetch's. A load that is under way when the fetch ends
    is waited for; if the fetch ends with an error, or its process was told to stop, so is the load.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        settings: Settings,
        progress: Progress,
        deadline: Deadline | None = None,
        feed: Feed = TRADES,
    ) -> None:
        self._instance = instance
        self._settings = settings
        self._progress = progress
        self._deadline = deadline or Deadline()
        self._feed = feed
        self._ended, self._stopped = threading.Event(), threading.Event()
        # The load after the fetch meets the same, and reports it.
        self._quiet = logging.Logger(__name__)  # noqa: LOG001 - an import must not change anything
        self._quiet.addHandler(logging.NullHandler())
        # A daemon: a load that hangs does not keep the process from ending.
        self._thread = threading.Thread(target=self._watch, name=BESIDE, daemon=True)

    def __enter__(self) -> Self:
        """Begins to watch the fetch."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the thread."""
        self._ended.set()
        patience = STOP_SECONDS
        try:
            if error is None:
                self._wait()
                patience = TOLD_SECONDS
        finally:  # also if the wait is interrupted: nothing may work on when this has ended
            if self._thread.is_alive():
                self._stopped.set()
                self._thread.join(patience)

    def _wait(self) -> None:
        """Waits for a load under way, and shows it; not if the process was told to stop."""
        while self._thread.is_alive() and not self._deadline.told:
            self._progress.step.follow(self._progress.beside)
            self._thread.join(SHOWN_SECONDS)
        self._progress.begin("")

    def _watch(self) -> None:
        try:
            self._load_often()
        except Exception:  # noqa: BLE001 - the load after the fetch meets it too, and reports it
            _LOG.info("nothing more is loaded beside the fetch", exc_info=True)

    def _load_often(self) -> None:
        """Loads whenever there is enough to load and nobody else loads."""
        warehouse = warehouse_resource(self._settings).open(
            self._feed.table, patience=_FILE_SECONDS
        )
        table = warehouse.table(self._feed)
        locks, holder = instance_locks(self._instance), this_process("loading beside a fetch")
        begun = taken = self._progress.recorded_rows  # what another feed's fetch has recorded
        while not self._ended.wait(POLL_SECONDS) and not self._deadline.told:
            recorded = self._progress.recorded_rows
            if recorded - taken < max(table.worth_loading, (recorded - begun) // SHARE):
                continue
            lock = locks.try_acquire(WAREHOUSE, holder)
            if lock is None:
                continue
            try:
                self._load(table, lock)
            except (StoreError, WarehouseError):
                _LOG.info("it is tried again with the next %s", self._feed.rows, exc_info=True)
            finally:
                self._progress.beside.end()
                lock.release()
            taken = recorded

    def _load(self, table: FeedTable, lock: Lock) -> None:
        """Combines what is new, and loads it; nothing if a batch is broken."""

        def check() -> None:
            if self._stopped.is_set() or self._deadline.told:
                raise RunEnded("the fetch beside this has ended")
            lock.check()

        forget()  # every manifest is read again, and from here on once
        store = open_store(self._settings, self._instance, self._feed)
        checked_table(self._instance, store, table)
        loaded = table.loaded_batches()
        if sound_and_broken(store, loaded).broken:
            return
        # The fetch needs memory too, so parts are half as large.
        record, memory = FeedRecord(self._instance, store.feed), self._settings.memory // 2
        step = self._progress.beside
        combine_new(record, store, loaded, self._quiet, check, memory=memory, step=step)
        check()
        for _ in load(table, sound_batches(store), store, step):
            check()
