"""How trades are requested from each source, newest first and within fixed bounds."""

from collections.abc import Mapping

from polycopy_assets.feeds.base import Endpoint, Parameters
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.shapes import DOME, POLYMARKET

LIMIT = 1000


def _polymarket(wallet: str, span: Interval) -> Parameters:
    """Contract: https://docs.polymarket.com/api-reference/feeds/list-trades."""
    return {
        "user": wallet,
        "limit": LIMIT,
        # By default, fills in which the wallet was the maker are left out.
        "taker_only": "false",
        # 0 would mean "the last three years"; 1 is the full history.
        "start": max(span.start, 1),
        "end": span.until - 1,
    }


def _dome(wallet: str, span: Interval) -> Parameters:
    start = max(span.start, 1)
    return {
        "user": wallet,
        "limit": LIMIT,
        "start_time": start,
        # The contract wants start < end: a single second is requested together with the next.
        "end_time": max(span.until - 1, start + 1),
    }


ENDPOINTS: Mapping[str, Endpoint] = {
    POLYMARKET: Endpoint(
        path="/v2/trades",
        rows="trades",
        limit=LIMIT,
        asked=_polymarket,
        mechanisms=("activity_feed",),
    ),
    DOME: Endpoint(path="/polymarket/orders", rows="orders", limit=LIMIT, asked=_dome),
}
