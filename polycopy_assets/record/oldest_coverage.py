"""Which recorded wallets are the first to refresh."""

from collections.abc import Callable, Collection

from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.trades.coverage import extended
from polycopy_assets.trades.interval import Interval


def covered_in_all(
    record: FeedRecord,
    wallets: Collection[str],
    without_trades: Callable[[str], Interval | None],
) -> int:
    """The ends of coverage of `wallets`, added up; of two feeds, the one with less is older."""
    return sum(_ends(record, wallets, without_trades).values())


def longest_ago_first(
    record: FeedRecord,
    wallets: Collection[str],
    without_trades: Callable[[str], Interval | None],
    *,
    before: float | None = None,
) -> list[str]:
    """`wallets`, earliest end of coverage first; those without a readable record before all.

    `without_trades` says what a wallet's coverage object states. With `before` (epoch seconds) only
    wallets whose coverage ended before that.
    """
    until = _ends(record, wallets, without_trades)
    chosen = [wallet for wallet in wallets if before is None or until[wallet] < before]
    return sorted(chosen, key=lambda wallet: until[wallet])


def _ends(
    record: FeedRecord,
    wallets: Collection[str],
    without_trades: Callable[[str], Interval | None],
) -> dict[str, int]:
    """Until when each of `wallets` is covered; 0 without a readable record."""
    until = dict.fromkeys(wallets, 0)
    for wallet, found in record.read(wallets):
        if isinstance(found, Record):
            until[wallet] = extended(found.covered_until, without_trades(wallet))
    return until
