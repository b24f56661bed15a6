"""Asks the source for its trade counts of many wallets, to compare with the table."""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing

from polycopy_assets.errors import Stopped
from polycopy_assets.fetch.at_once import at_once
from polycopy_assets.fetch.blame import Failed, Streaks, failed
from polycopy_assets.ledger.source_counts import Count, Ours
from polycopy_assets.trades.interval import BEGINNING, Interval
from polycopy_assets.trades.page import Witness


class Questions:
    """Asks `witness` for the counts of wallets, `concurrency` of them at a time, one request each.

    Once the source counts as down (see `fetch.blame`), the remaining wallets are not requested.
    """

    def __init__(
        self, witness: Witness, *, concurrency: int, now: Callable[[], float] = time.time
    ) -> None:
        self._witness = witness
        self._concurrency = concurrency
        self._now = now
        self._streaks = Streaks(can_ask=False)

    async def ask(self, wallets: Iterable[Ours]) -> AsyncIterator[Count | Failed]:
        """Yields both counts of each wallet, or why there are none."""
        async with aclosing(at_once(wallets, self._outcome, self._concurrency)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def _outcome(self, ours: Ours) -> Count | Failed:
        if self._streaks.down:
            reason = f"not asked: {self._streaks.down}"
            return Failed(wallet=ours.wallet, reason=reason, tried=False)
        try:
            counted = await self._witness.count_trades(ours.wallet, Interval(BEGINNING, ours.until))
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - any error here is this wallet's failure
            failure = failed(ours.wallet, error)
            self._streaks.failed(failure)
            return failure
        self._streaks.succeeded()
        return Count(
            wallet=ours.wallet,
            source=counted,
            ours=ours.rows,
            until=ours.until,
            asked=int(self._now()),
            version=ours.version,
        )
