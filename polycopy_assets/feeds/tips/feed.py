"""The feed `tips`, put together: rows of the ledger, requested by their type alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from polycopy_assets.feeds.activity.columns import ACTIVITY
from polycopy_assets.feeds.activity.endpoints import LIMIT, MECHANISMS, PATH, page_of
from polycopy_assets.feeds.activity.shapes import SHAPES, TIP
from polycopy_assets.feeds.base import Assets, Endpoint, Feed, Parameters
from polycopy_assets.trades.columns import Relation
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.shapes import POLYMARKET

if TYPE_CHECKING:
    from polycopy_assets.feeds.frame import Frame


def _polymarket(wallet: str, span: Interval) -> Parameters:
    return {**page_of(wallet, span), "type": TIP}


ENDPOINTS: Mapping[str, Endpoint] = {
    POLYMARKET: Endpoint(
        path=PATH,
        rows="tips",
        limit=LIMIT,
        asked=_polymarket,
        mechanisms=MECHANISMS,
    ),
}


def _frame() -> "Frame":
    from polycopy_assets.feeds.activity.frame import FRAME  # noqa: PLC0415 - Polars

    return FRAME


TIPS = Feed(
    name="tips",
    label="tip feed",
    row="tip",
    rows="tips",
    assets=Assets(
        wallets="wallet_tips",
        combined="combined_tips",
        table="tips",
        counts="tip_counts",
    ),
    notes="polycopy/tips/",
    names=Names(
        segments="tips/segments/",
        coverage="tips/coverage/",
        combined="tips/combined/",
        snapshots="tips/snapshots/",
    ),
    shapes=SHAPES,
    endpoints=ENDPOINTS,
    schema=1,
    relation=Relation(
        "Every tip that a wanted wallet gave (side OUT) or was given (side IN), once; the columns"
        " are those of activity.",
        ACTIVITY,
    ),
    views={},
    frame=_frame,
)
