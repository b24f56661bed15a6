"""Which snapshots of the leaderboard are loaded, and who of them is wanted."""

from collections.abc import AsyncIterator, Collection
from contextlib import nullcontext
from pathlib import Path

import pytest

from polycopy_assets.boards.board import Asked, Board, Entry
from polycopy_assets.boards.snapshot import Key, Snapshot, pack
from polycopy_assets.pipeline.leaderboard import WANTED_DAYS, SnapshotPorts, keep_snapshots
from polycopy_assets.store.local import LocalStore

DAY, NOW = 86_400, 1_795_954_752


def snapshot(days_ago: int) -> Snapshot:
    """With one wallet, which says how old it is, and a second one of rank 3."""
    return Snapshot(
        at=NOW - days_ago * DAY,
        window="week",
        by="pnl",
        category="overall",
        top=2,
        ended=True,
        entries=tuple(Entry(rank=1 + 2 * n, wallet=f"0x{days_ago:039x}{n}") for n in (0, 1)),
    )


class Table:
    """What was loaded, in order."""

    def __init__(self, *held: Key) -> None:
        self.loaded = list(held)

    def held(self) -> set[Key]:
        return set(self.loaded)

    def load(self, snapshot: Snapshot) -> None:
        self.loaded.append(snapshot.key)


class Clock:
    """A source whose boards nobody asks for: it says what time it is."""

    async def clock(self) -> float:
        return NOW

    def walk(self, asked: Asked) -> AsyncIterator[Board]:
        pytest.fail(f"{asked.title} was asked for")


@pytest.mark.parametrize("first", [0, 2])
def test_what_the_table_lacks_is_loaded_but_who_was_wanted_long_ago_is_not(
    tmp_path: Path, first: int
):
    store, added = LocalStore(tmp_path), list[str]()
    ages = (WANTED_DAYS + 1, WANTED_DAYS, 4, 0)
    for days in ages:
        store.create(snapshot(days).key.name, pack(snapshot(days)))
    damaged, held = snapshot(2).key.name, snapshot(4).key
    store.create(damaged, pack(snapshot(2))[:-9])
    store.create("leaderboard/2026-02-31/week-pnl-overall.json.gz", b"of a person")
    table = Table(held)

    def want(wallets: Collection[str]) -> int:
        added.extend(wallets)
        return len(wallets)

    ports = SnapshotPorts(
        store=store,
        table=table,
        open_boards=lambda: nullcontext(Clock()),
        want=want,
        check=lambda: None,
    )
    kept = keep_snapshots([], first, ports)
    lacked = [snapshot(days).key for days in ages if days != 4]
    assert kept.loaded == table.loaded[1:] == lacked, "oldest first, and none twice"
    assert added == ([f"0x{days:039x}0" for days in (WANTED_DAYS, 0)] if first else [])
    assert (kept.added, kept.damaged) == (len(added), [damaged])
    assert any(damaged in item.name for item in store.list("quarantine/"))
    again = keep_snapshots([], first, ports)
    assert (again.loaded, again.damaged, len(added)) == ([], [], kept.added)
