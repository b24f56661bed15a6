"""Opens the Dagster instance for a command: the one place that knows how it is kept.

In files or in Postgres it is there before the command and after it. With POLYCOPY_INSTANCE set to
`ephemeral` it is made for the command, filled from the store, and removed; what it has learned is
written into the store as a snapshot.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from polycopy_assets.cli.common import say
from polycopy_assets.cli.usable import usable
from polycopy_assets.errors import PolycopyError, Stopped, StoreError, WarehouseBusy
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import named
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.guard.exclusive import SOURCE, note_released
from polycopy_assets.guard.instance_locks import under_lease
from polycopy_assets.guard.lease import Lease, take_lease
from polycopy_assets.guard.lock import Holder, this_process
from polycopy_assets.record import snapshot
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.instance import opened
from polycopy_assets.record.store_id import checked_table
from polycopy_assets.record.temporary_home import IN_USE, remove_leftovers, temporary_home
from polycopy_assets.record.wanted import register_wanted
from polycopy_assets.resources.chosen import open_warehouse, store_resource, warehouse_resource
from polycopy_assets.settings import Settings
from polycopy_assets.store.base import Store
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.read_only import ReadOnly
from polycopy_assets.text import counted, first_lines

if TYPE_CHECKING:
    from polycopy_assets.reconcile.restore import Report

    Reports = Sequence[tuple[Feed, Report]]

_SAY_SECONDS = 60.0
_FILE_SECONDS = 1.0
"""How long the first look at the table waits for a DuckDB file: a command looks again."""

_NAMED = 3


class Needs(Enum):
    """What a command needs of an instance that is made for it."""

    NOTHING = auto()
    """Neither reads nor writes the record."""

    RECORD = auto()
    """Reads the record, and changes neither record nor store."""

    WORK = auto()
    """Changes the record: one such command at a time works on a store."""


@contextmanager
def open_instance(
    chosen: Settings, needs: Needs = Needs.WORK, deadline: Deadline | None = None
) -> Iterator[dg.DagsterInstance]:
    """The instance that the settings name, with its record.

    Raises OutOfTime if another command works on the store until the `deadline`.
    """
    if chosen.instance == "files" and needs is Needs.RECORD and not Path(chosen.home).exists():
        with temporary_home() as home, opened(str(home)) as instance:
            yield instance  # nothing is recorded yet, and a command that reads creates nothing
        return
    if chosen.instance != "ephemeral":
        with opened(chosen.home) as instance:
            yield instance
        return
    with temporary_home() as home, opened(str(home)) as instance:
        store = store_resource(chosen).connect()
        if needs is not Needs.NOTHING:
            with usable(chosen):
                _check_table(instance, chosen, store)
        if needs is Needs.WORK:
            with _working(instance, chosen, store, home, deadline or Deadline()):
                yield instance
            return
        if needs is Needs.RECORD:
            with usable(chosen):
                _say_restored(_restored(instance, chosen, ReadOnly(store), change=False))
                table = open_warehouse(chosen, "traders")
                register_wanted(instance, ReadOnly(store), table, change=False)
        yield instance


def _check_table(instance: dg.DagsterInstance, chosen: Settings, store: Store) -> None:
    """Raises WrongTable if the table is another store's: a wrong store would look empty.

    No instance keeps the store's id here. So the table does, before anything is written.
    """
    warehouse = warehouse_resource(chosen).open("trades", patience=_FILE_SECONDS)
    try:
        for feed in named(chosen.feeds):
            checked_table(instance, FeedStore(store, feed), warehouse.table(feed), keep=False)
    except WarehouseBusy:
        return  # each command checks it again before it begins


@contextmanager
def _working(
    instance: dg.DagsterInstance, chosen: Settings, store: Store, home: Path, deadline: Deadline
) -> Iterator[None]:
    """Holds the lock in the store; restores the record, and writes a snapshot of it at the end."""
    with usable(chosen):
        lease = take_lease(
            store, this_process("a command"), home / IN_USE, waiting=_Waiting(deadline)
        )
    with _freed(lease), under_lease(instance, lease):
        remove_leftovers()
        if lease.idle_since:
            note_released(instance, SOURCE, str(lease.idle_since))
        with usable(chosen):
            reports = _restored(instance, chosen, store, change=True)
        _say_restored(reports)
        try:
            yield
        except PolycopyError as error:
            if not isinstance(error, Stopped):
                _save(instance, store, lease, reports)
            raise
        _save(instance, store, lease, reports)


@contextmanager
def _freed(lease: Lease) -> Iterator[None]:
    try:
        yield
    finally:
        lease.release()


def _save(instance: dg.DagsterInstance, store: Store, lease: Lease, before: "Reports") -> None:
    """Writes a snapshot of each feed whose record has changed.

    Without it the next start has more to read.
    """
    for feed, report in before:
        lease.check()
        now = snapshot.take(FeedRecord(instance, feed), report.state, report.written)
        if now == report.state:
            continue
        try:
            snapshot.write(FeedStore(store, feed), now)
        except StoreError as error:
            say(f"no snapshot of the record was written: {error}. The next start reads the store")


def _restored(
    instance: dg.DagsterInstance, chosen: Settings, store: Store, *, change: bool
) -> "Reports":
    """Restores the record of each feed that is collected."""
    # An instance that is kept needs none of it.
    from polycopy_assets.reconcile.restore import restore  # noqa: PLC0415

    return [
        (feed, restore(instance, FeedStore(store, feed), change=change, say=say))
        for feed in named(chosen.feeds)
    ]


def _say_restored(reports: "Reports") -> None:
    for feed, report in reports:
        of = f" of {feed.rows}" if len(reports) > 1 else ""
        lost = f", {report.revoked:,} with lost data" if report.revoked else ""
        say(
            f"record{of}: {counted(report.kept, 'wallet')} from"
            f" {report.snapshot or 'no snapshot'}, {report.rebuilt:,} from what is stored{lost},"
            f" in {report.seconds:.1f} s"
        )
        lines = [f"{each.wallet}: {each.reason}" for each in report.failures]
        for line in first_lines(lines, _NAMED, "not recorded: "):
            say(line)


class _Waiting:
    """Says now and then which process works on the store; raises OutOfTime at the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._said = float("-inf")

    def __call__(self, holder: Holder) -> None:
        if time.monotonic() - self._said > _SAY_SECONDS:
            self._said = time.monotonic()
            say(f"Waiting for {holder}, which works on this store. {holder.advice}")
        self._deadline.check()
