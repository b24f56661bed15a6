"""What a source can leave out or miscount without any visible sign in its answers."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from polycopy_assets.demo.combos import Event
from polycopy_assets.demo.contract import Row, Walked
from polycopy_assets.demo.entry import Entry
from polycopy_assets.demo.world import Trade, World, v2_row

LIES = (
    *("page_edge", "withheld", "dropped", "one_fill", "one_twin"),
    *("count_off", "count_broken"),
)
"""For single wallets, as long as they are set:

`page_edge`: the feed leaves out the last row of every page that is followed by another;
`withheld`: the feed leaves out one transaction in seven, and the count includes it (trades that are
added late: set it, fetch, remove it); `dropped`: neither includes it (set it after a fetch: trades
that the source has dropped since); `one_fill`: the feed lacks one fill in the middle of the
wallet's trades; `one_twin`: it lacks one of two fills that are alike in every byte; `count_off`:
the count is two too high; `count_broken`: it is not a number."""

ONE_IN = 7
OFF_BY = 2


def served(lie: str | None, walked: Walked[Row], world: World, wallet: str) -> Walked[Row]:
    """The page of `wallet` as the feed serves it."""
    rows = walked.rows
    if lie == "page_edge" and walked.next_cursor:
        rows = rows[:-1]
    elif lie in ("withheld", "dropped"):
        rows = [row for row in rows if not left_out(row)]
    elif lie in ("one_fill", "one_twin"):
        lost = _lost(lie, world.truth(wallet))
        rows = [row for row in rows if row.position != lost]
    return msgspec.structs.replace(walked, rows=rows)


def counted(lie: str | None, trades: Sequence[Trade]) -> int | str:
    """How many `trades` the source says there are."""
    if lie == "count_broken":
        return "many"
    if lie == "dropped":
        return sum(not left_out(trade) for trade in trades)
    return len(trades) + (OFF_BY if lie == "count_off" else 0)


def _lost(lie: str, trades: Sequence[Trade]) -> tuple[int, int] | None:
    """Where the one fill stands that is left out, in either feed; None if there is no such fill."""
    if lie == "one_fill":
        return trades[len(trades) // 2].position if trades else None
    for one, other in pairwise(trades):
        if one.maker == other.maker and v2_row(one) == v2_row(other):
            return one.position
    return None


def left_out(trade: Trade | Entry | Event) -> bool:
    """Whether the row is one of those that are left out; whole transactions are."""
    return int(trade.tx_hash[-4:], 16) % ONE_IN == 0
