"""Snapshots of the leaderboard: taken once a day into the store, and loaded from there.

In this order: the snapshot is created in the store, the wallets that are wanted are added, the
table is loaded. A kill anywhere leaves a snapshot that the table lacks, and the next run goes on
there, without reading the board again.

Which day it is, the source says, as it does in the snapshot: with a machine whose clock is a day
late, the snapshot of yesterday would pass for that of today, and today would have none.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from datetime import date, timedelta
from typing import NamedTuple

from polycopy_assets.boards.board import Asked
from polycopy_assets.boards.snapshot import (
    PREFIX,
    Key,
    Snapshot,
    day_of,
    key_of,
    pack,
    parse_name,
    snapshot_of,
    unpack,
)
from polycopy_assets.boards.wanted import wanted
from polycopy_assets.errors import ContractBroken, ObjectExists, ObjectLost
from polycopy_assets.pipeline.discover import OpenBoards, read_boards
from polycopy_assets.store.base import Store
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.warehouse.base import BoardTable

WANTED_DAYS = 7
"""Days back for which a snapshot that was not loaded yet still says who is wanted: a table that is
lost and loaded again does not bring back the wallets of last year."""


class SnapshotPorts(NamedTuple):
    """What a run needs: `want` adds wallets and returns how many were new."""

    store: Store
    table: BoardTable
    open_boards: OpenBoards
    want: Callable[[Collection[str]], int]
    check: Callable[[], None]


class Kept(NamedTuple):
    """What a run did: snapshots taken and loaded, wallets added, requests, what was set aside."""

    taken: list[Snapshot]
    there: list[Key]
    loaded: list[Key]
    added: int
    requests: int
    damaged: list[str]


def keep_snapshots(boards: Iterable[Asked], first: int, ports: SnapshotPorts) -> Kept:
    """Takes today's snapshot of each board that has none, and loads all that the table lacks.

    Today is the UTC day of the source's clock. The wallets of rank `first` and better are wanted; 0
    for none. Raises SourceError, StoreError, WarehouseError and Stopped; what was taken before is
    kept.
    """
    kept = Kept([], [], [], 0, 0, [])
    today = date.min
    requests = 1  # for the clock

    def lacking(now: float) -> Iterator[Asked]:
        """The boards without a snapshot of the day; each is looked for just before it is read."""
        nonlocal today
        today = day_of(now)
        for asked in boards:
            key = key_of(asked, now)
            if _stored(ports.store, key):
                kept.there.append(key)
            else:
                yield asked

    with closing(read_boards(lacking, ports.open_boards, ports.check)) as found:
        for board in found:
            requests += board.requests
            snapshot = snapshot_of(board)
            if _created(ports.store, snapshot):
                kept.taken.append(snapshot)
            else:
                kept.there.append(snapshot.key)
    added = 0
    oldest = today - timedelta(days=WANTED_DAYS)
    for snapshot in _lacking(ports, kept.damaged):
        ports.check()
        if snapshot.key.day >= oldest and (chosen := wanted(snapshot.entries, first, ())):
            added += ports.want(chosen)
        ports.table.load(snapshot)
        kept.loaded.append(snapshot.key)
    return kept._replace(added=added, requests=requests)


def _stored(store: Store, key: Key) -> bool:
    """Whether the snapshot is in the store."""
    return any(item.name == key.name for item in store.list(f"{PREFIX}{key.day.isoformat()}/"))


def _created(store: Store, snapshot: Snapshot) -> bool:
    """Creates the object; False if the day has one already, which stays."""
    try:
        store.create(snapshot.key.name, pack(snapshot))
    except ObjectExists:
        return False
    return True


def _lacking(ports: SnapshotPorts, damaged: list[str]) -> Iterator[Snapshot]:
    """The snapshots of the store that the table lacks, oldest first.

    A damaged one is set aside and named: a board of a past day cannot be asked for again.
    """
    held = ports.table.held()
    keys = [key for item in ports.store.list(PREFIX) if (key := parse_name(item.name))]
    for key in sorted(key for key in keys if key not in held):
        try:
            yield unpack(ports.store.read(key.name), key)
        except ObjectLost:
            continue  # deleted since it was listed
        except ContractBroken:
            set_aside(ports.store, key.name)
            damaged.append(key.name)
