"""A source in memory: trades of many wallets in pages, and errors as they are told."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from polycopy_assets.demo.world import Trade, v2_row
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Page, Row

UNTIL = 2_000_000_000
"""Its horizon: later than all trades of a generated world."""


class MemorySource:
    """Serves `trades` by wallet; `fails` is asked before each page and may raise.

    `asked` are the (wallet, interval) of all pages in their order, `horizons` how often its state
    was asked for. An exception in `horizon_errors` is raised instead of an answer; each once.
    """

    name = "polymarket"

    def __init__(
        self,
        trades: Mapping[str, Sequence[Trade]],
        *,
        limit: int = 50,
        fails: Callable[[str], Exception | None] = lambda wallet: None,
        on_request: Callable[[], None] = lambda: None,
    ) -> None:
        self._trades = trades
        self._limit = limit
        self._fails = fails
        self._on_request = on_request
        self.asked: list[tuple[str, Interval]] = []
        self.horizons = 0
        self.horizon_errors: list[Exception | None] = []

    async def page(self, wallet: str, span: Interval, cursor: str | None) -> Page:
        """The next page of `wallet` within `span`."""
        self.asked.append((wallet, span))
        self._on_request()
        if error := self._fails(wallet):
            raise error
        inside = [t for t in self._trades[wallet] if span.start <= t.timestamp < span.until]
        inside.sort(key=lambda trade: -trade.timestamp)
        at = int(cursor or 0)
        rows = [served_row(wallet, trade) for trade in inside[at : at + self._limit]]
        following = at + self._limit
        more = following < len(inside)
        return Page(rows, more, str(following) if more else None, self._limit, 1)

    async def horizon(self) -> Horizon:
        """Everything that there is can be asked for."""
        self.horizons += 1
        error = self.horizon_errors.pop(0) if self.horizon_errors else None
        if error:
            raise error
        return Horizon(until=UNTIL, at=UNTIL)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["MemorySource"]:
        """The source, as a pipeline opens it."""
        yield self


def served_row(wallet: str, trade: Trade) -> Row:
    """A row of `wallet` as Data API v2 serves it."""
    return Row(wallet, trade.timestamp, trade.tx_hash, msgspec.json.encode(v2_row(trade)))
