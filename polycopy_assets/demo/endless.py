"""Pages that always promise more, for wallets that are set to have such a fault."""

import msgspec

from polycopy_assets.demo.contract import Walked, Window
from polycopy_assets.demo.world import Trade, World

ENDLESS = ("endless_pages", "tiny_pages", "crowded_second")
"""Full pages, each a second older than the one before; pages of one row, each a second older; full
pages of one and the same second. Each with a cursor that was never seen before."""

_MARK = "and-on"


def endless_page(
    kind: str,
    world: World,
    query: Window,
    cursor: str | None,
    newest: int,
    *,
    ascending: bool = False,
) -> Walked[Trade]:
    """The next page of `kind`, made up: whatever interval is asked for is full of trades."""
    number = int(cursor.removeprefix(_MARK)) if cursor and cursor.startswith(_MARK) else 0
    passed = 0 if kind == "crowded_second" else number
    last = min(query.end, newest)
    at = min(query.start + passed, last) if ascending else last - passed
    count = 1 if kind == "tiny_pages" else query.limit
    trades = [
        msgspec.structs.replace(
            _any_trade(world),
            served_wallet=query.user,
            timestamp=max(at, query.start),
            tx_hash=f"0x{at:032x}{number * query.limit + row:032x}",
            log_index=row,
        )
        for row in range(count)
    ]
    return Walked(trades, f"{_MARK}{number + 1}")


def _any_trade(world: World) -> Trade:
    return next(trade for wallet in world.wallets() for trade in world.truth(wallet))
