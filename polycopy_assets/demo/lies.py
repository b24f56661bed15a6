"""What a source can leave out or miscount without any visible sign in its answers."""

from collections.abc import Sequence

import msgspec

from polycopy_assets.demo.contract import Row, Walked
from polycopy_assets.demo.entry import Entry
from polycopy_assets.demo.world import Trade

LIES = ("page_edge", "withheld", "dropped", "count_off", "count_broken")
"""For single wallets, as long as they are set:

`page_edge`: the feed leaves out the last row of every page that is followed by another;
`withheld`: the feed leaves out one transaction in seven, and the count includes it (trades that are
added late: set it, fetch, remove it); `dropped`: neither includes it (set it after a fetch: trades
that the source has dropped since); `count_off`: the count is two too high; `count_broken`: it is
not a number."""

ONE_IN = 7
OFF_BY = 2


def served(lie: str | None, walked: Walked[Row]) -> Walked[Row]:
    """The page as the feed serves it."""
    rows = walked.rows
    if lie == "page_edge" and walked.next_cursor:
        rows = rows[:-1]
    elif lie in ("withheld", "dropped"):
        rows = [row for row in rows if not left_out(row)]
    return msgspec.structs.replace(walked, rows=rows)


def counted(lie: str | None, trades: Sequence[Trade]) -> int | str:
    """How many `trades` the source says there are."""
    if lie == "count_broken":
        return "many"
    if lie == "dropped":
        return sum(not left_out(trade) for trade in trades)
    return len(trades) + (OFF_BY if lie == "count_off" else 0)


def left_out(trade: Trade | Entry) -> bool:
    """Whether the row is one of those that are left out; whole transactions are."""
    return int(trade.tx_hash[-4:], 16) % ONE_IN == 0
