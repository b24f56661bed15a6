"""How generated wallets leave resolved markets."""

import heapq
import random

from polycopy_assets.demo import awkward
from polycopy_assets.demo.ledger.book import Book
from polycopy_assets.demo.market import MarketFacts

NEVER_LOSERS = 0.5
"""How often shares that pay nothing are kept for ever."""

NEVER_WINNERS = 0.05
SOONEST = 300
LATEST = 20 * 86_400
"""Seconds from the resolution to the redemption."""


class Exits:
    """The markets of which one wallet has had shares, by the time at which it redeems them."""

    def __init__(self, rng: random.Random, book: Book) -> None:
        self._rng = rng
        self._book = book
        self._due: list[tuple[int, int, MarketFacts]] = []
        self._noted: set[int] = set()

    def note(self, market: MarketFacts) -> None:
        """The wallet has shares of this market, which is not resolved yet."""
        if market.resolved_at is not None and market.number not in self._noted:
            self._noted.add(market.number)
            due = market.resolved_at + self._rng.randrange(SOONEST, LATEST)
            heapq.heappush(self._due, (due, market.number, market))

    def redeem_until(self, second: int) -> None:
        """Redeems all that is due before `second`, but for what is kept for ever."""
        while self._due and self._due[0][0] < second:
            due, _, market = heapq.heappop(self._due)
            latest = self._book.entries[-1].timestamp
            if latest < second - 1:
                self._redeem(market, max(due, latest + 1))
            else:
                heapq.heappush(self._due, (second, market.number, market))

    def _redeem(self, market: MarketFacts, second: int) -> None:
        """Both outcomes in one transaction; now and then as two rows that are twins."""
        rng, book = self._rng, self._book
        if market.payouts is None:
            raise ValueError(f"{market.slug} is not resolved")
        pays = zip(market.tokens, market.payouts, strict=True)
        wins = any(payout and book.held[token] for token, payout in pays)
        if rng.random() < (NEVER_WINNERS if wins else NEVER_LOSERS):
            return
        when = (second, awkward.tx_hash(rng))
        for outcome, token in enumerate(market.tokens):
            amount = book.held[token]
            if not amount:
                continue
            if amount % 2 == 0 and rng.random() < 0.2:
                book.redeem(when, market, outcome, amount // 2)
                book.redeem(when, market, outcome, amount // 2)
            else:
                book.redeem(when, market, outcome, amount)
