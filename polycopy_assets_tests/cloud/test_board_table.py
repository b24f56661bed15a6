"""The table `leaderboard`, on every warehouse: snapshots loaded once, whatever is repeated."""

import msgspec

from polycopy_assets.boards.board import Entry
from polycopy_assets.boards.snapshot import Snapshot
from polycopy_assets_tests.bench import Bench

AT = 1_795_954_752
DAY = 86_400


def wallet(number: int) -> str:
    return f"0x{number:040x}"


SNAPSHOT = Snapshot(
    at=AT,
    window="week",
    by="pnl",
    category="overall",
    top=3,
    ended=False,
    entries=(
        Entry(rank=1, wallet=wallet(1), name="a\u202eb 'c'\n\"d\" \\\\e", pnl=-1.5, volume=2e9),
        Entry(rank=2, wallet=wallet(2), name="", pnl=0.1, volume=0.0),
        Entry(rank=2, wallet=wallet(3), name="Ω", pnl=None, volume=None),
    ),
)


ROWS = (
    "SELECT rank, wallet_address, user_name, pnl_usdc, volume_shares FROM {}leaderboard"
    " ORDER BY snapshot_at, 1, 2"
)


def rows(bench: Bench):
    return bench.sql(ROWS)


def test_a_snapshot_is_loaded_once_and_replaces_nothing_but_its_own_day_and_board(bench: Bench):
    table = bench.warehouse.boards
    assert table.held() == set()
    table.load(SNAPSHOT)
    whole = [(e.rank, e.wallet, e.name, e.pnl, e.volume) for e in SNAPSHOT.entries]
    assert rows(bench) == whole
    assert bench.warehouse.boards.held() == {SNAPSHOT.key}

    others = [
        msgspec.structs.replace(SNAPSHOT, **change)
        for change in (
            {"at": AT + DAY},
            {"by": "volume"},
            {"category": "sports"},
            {"window": "all"},
        )
    ]
    for other in others:
        table.load(other)
    for again in (SNAPSHOT, *others):
        table.load(again)
    assert len(rows(bench)) == 5 * len(whole)
    assert table.held() == {SNAPSHOT.key, *(other.key for other in others)}

    # Another snapshot of the same day: the store has one, so the table has the rows of that one.
    table.load(msgspec.structs.replace(SNAPSHOT, at=AT + 60, entries=SNAPSHOT.entries[:1]))
    assert len(rows(bench)) == 4 * len(whole) + 1
    (times,) = bench.sql(
        "SELECT COUNT(DISTINCT snapshot_at), COUNT(DISTINCT wallet_address) FROM {}leaderboard"
        " WHERE time_period = 'week' AND sort_by = 'pnl' AND category = 'overall'"
    )
    assert times == (2, 3)
