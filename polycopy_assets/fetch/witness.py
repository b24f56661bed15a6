"""Asking the source how many trades it counts of many wallets, beside what the table holds."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing

from polycopy_assets.errors import TransientError
from polycopy_assets.fetch.at_once import at_once
from polycopy_assets.fetch.wallets import DOWN_AFTER, HOPELESS_AFTER, Failed, failed
from polycopy_assets.ledger.witness import Count, Ours
from polycopy_assets.trades.interval import BEGINNING, Interval
from polycopy_assets.trades.page import Witness


class Questions:
    """Asks `witness` for the counts of wallets, `concurrency` of them at a time, one request each.

    After `DOWN_AFTER` outages in a row, or `HOPELESS_AFTER` failures of any kind in a row, the
    wallets that are left are not asked for.
    """

    def __init__(
        self, witness: Witness, *, concurrency: int, now: Callable[[], float] = time.time
    ) -> None:
        self._witness = witness
        self._concurrency = concurrency
        self._now = now
        self._outages = 0
        self._failures = 0
        self._down = ""

    async def ask(self, wallets: Iterable[Ours]) -> AsyncIterator[Count | Failed]:
        """Yields both counts of each wallet, or why there are none."""
        async with aclosing(at_once(wallets, self._outcome, self._concurrency)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def _outcome(self, ours: Ours) -> Count | Failed:
        if self._down:
            return Failed(wallet=ours.wallet, reason=f"not asked: {self._down}", tried=False)
        try:
            counted = await self._witness.count_trades(ours.wallet, Interval(BEGINNING, ours.until))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this wallet's failure
            self._after_failure(error)
            return failed(ours.wallet, error)
        self._outages = self._failures = 0
        return Count(
            wallet=ours.wallet,
            source=counted,
            ours=ours.rows,
            until=ours.until,
            asked=int(self._now()),
            version=ours.version,
        )

    def _after_failure(self, error: Exception) -> None:
        self._failures += 1
        self._outages += isinstance(error, TransientError)
        if self._outages >= DOWN_AFTER or self._failures >= HOPELESS_AFTER:
            self._down = f"{self._failures} wallets in a row failed, last: {error}"
