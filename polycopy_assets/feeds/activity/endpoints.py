"""How a wallet's ledger is requested, newest first and within fixed bounds."""

from collections.abc import Collection, Mapping

from polycopy_assets.feeds.activity.shapes import TIP, TYPES
from polycopy_assets.feeds.base import Endpoint, Parameters
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.shapes import POLYMARKET

PATH = "/v2/activity"
LIMIT = 1000
FLOWS = frozenset({"DEPOSIT", "WITHDRAWAL"})
MECHANISMS = ("activity_feed", "custody_balances", "rewards")
"""Rewards and rebates follow no contract. A status that does not name them by themselves counts
with the worst lag it has."""


def page_of(wallet: str, span: Interval) -> Parameters:
    """What every request for rows of a ledger has.

    Contract: https://docs.polymarket.com/api-reference/feeds/list-activity.
    """
    return {
        "user": wallet,
        "limit": LIMIT,
        "sort_direction": "DESC",
        # 0 would mean "the last three years"; 1 is the full history.
        "start": max(span.start, 1),
        "end": span.until - 1,
    }


def _polymarket(wallet: str, span: Interval) -> Parameters:
    """All types but tips.

    No `type` is named: a list of types would leave out those that are added to the API later. The
    price is that tips, which are served only when they are named, are a feed of their own.
    """
    # By default deposits are dropped, and the cash of the wallet could not be added up.
    return {**page_of(wallet, span), "exclude_deposits_withdrawals": "false"}


def _without(types: Collection[str]) -> Parameters:
    """Whoever leaves out more than deposits and withdrawals has to name all other types.

    A type that is added to the API later is left out as well then.
    """
    if frozenset(types) == FLOWS:
        return {"exclude_deposits_withdrawals": "true"}
    return {"type": ",".join(sorted(TYPES - {TIP} - set(types)))}


ENDPOINTS: Mapping[str, Endpoint] = {
    POLYMARKET: Endpoint(
        path=PATH,
        rows="rows of activity",
        limit=LIMIT,
        asked=_polymarket,
        mechanisms=MECHANISMS,
        without=_without,
    ),
}
