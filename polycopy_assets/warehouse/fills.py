"""Trades that one of two tables lacks: `trades`, or `activity`, which has them among its rows."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any, NamedTuple


class Difference(StrEnum):
    """Why a trade is in one table only; the statements write these words."""

    ACTIVITY_LACKS = "not in the ledger"
    TRADES_LACK = "only in the ledger"
    COMBO = "combo"
    """In `activity` only: a combination of outcomes, which the source has no trade of."""

    DUST = "dust"
    """In `activity` only: under 0.01 shares, which the source leaves out of trades."""

    TOLD_OTHERWISE = "told otherwise"
    """In a transaction of which both have as many trades, and `trades` from another source: an
    older job's files have rounded shares."""


class Unmatched(NamedTuple):
    """So many trades of a wallet in one transaction, alike, that only one table has."""

    wallet: str
    day: date
    tx_hash: str | None
    trades: int


class Compared(NamedTuple):
    """How many trades only one table has, by why, and the first of them.

    `since` is None if both tables were read whole.
    """

    totals: Mapping[Difference, int]
    first: Mapping[Difference, Sequence[Unmatched]]
    since: datetime | None = None


def compared(rows: Iterable[Sequence[Any]], since: datetime | None = None) -> Compared:
    """From rows of the statement `unmatched`: why, all so, wallet, day, transaction, trades."""
    totals: dict[Difference, int] = {}
    first: defaultdict[Difference, list[Unmatched]] = defaultdict(list)
    for why, total, *found in rows:
        kind = Difference(why)
        totals[kind] = int(total)
        wallet, day, tx_hash, trades = found
        first[kind].append(Unmatched(wallet, day, tx_hash, int(trades)))
    return Compared(totals, first, since)
