"""The feed `activity`, put together."""

from typing import TYPE_CHECKING

from polycopy_assets.feeds.activity.columns import RELATION
from polycopy_assets.feeds.activity.endpoints import ENDPOINTS
from polycopy_assets.feeds.activity.shapes import SHAPES
from polycopy_assets.feeds.base import Assets, Feed
from polycopy_assets.trades.names import Names

if TYPE_CHECKING:
    from polycopy_assets.feeds.frame import Frame


def _frame() -> "Frame":
    from polycopy_assets.feeds.activity.frame import FRAME  # noqa: PLC0415 - Polars

    return FRAME


ACTIVITY = Feed(
    name="activity",
    label="activity feed",
    row="row of activity",
    rows="rows of activity",
    assets=Assets(
        wallets="wallet_activity",
        combined="combined_activity",
        table="activity",
        counts="activity_counts",
    ),
    notes="polycopy/activity/",
    names=Names(
        segments="activity/segments/",
        coverage="activity/coverage/",
        combined="activity/combined/",
        snapshots="activity/snapshots/",
        left_out="activity/left-out.json",
    ),
    shapes=SHAPES,
    endpoints=ENDPOINTS,
    schema=1,
    relation=RELATION,
    views={},
    frame=_frame,
)
