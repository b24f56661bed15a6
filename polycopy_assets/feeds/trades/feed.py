"""The feed `trades`, put together."""

from typing import TYPE_CHECKING

from polycopy_assets.feeds.base import Assets, Feed
from polycopy_assets.feeds.trades.columns import RELATION, VIEWS
from polycopy_assets.feeds.trades.endpoints import ENDPOINTS
from polycopy_assets.feeds.trades.shapes import SHAPES
from polycopy_assets.trades.names import Names

if TYPE_CHECKING:
    from polycopy_assets.feeds.frame import Frame


def _frame() -> "Frame":
    from polycopy_assets.feeds.trades.frame import FRAME  # noqa: PLC0415 - Polars

    return FRAME


TRADES = Feed(
    name="trades",
    label="trade feed",
    row="trade",
    rows="trades",
    assets=Assets(
        wallets="wallet_trades", combined="combined_trades", table="trades", counts="source_counts"
    ),
    # The first feed: its notes and folders do not bear its name, and existing ones are so called.
    notes="polycopy/",
    names=Names(
        segments="trades/",
        coverage="coverage/",
        combined="combined/",
        snapshots="record/snapshots/",
    ),
    shapes=SHAPES,
    endpoints=ENDPOINTS,
    # 1: up to `source`. 2: `sequence`, `outcome_index`, `event_slug`, `notional_usdc`.
    schema=2,
    relation=RELATION,
    views=VIEWS,
    frame=_frame,
    # The first feed: the table of existing warehouses does not bear its name either.
    loaded="polycopy_batches",
    bare=True,
    counted=True,
)
