"""All feeds, by their names."""

from collections.abc import Mapping

from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES

FEEDS: Mapping[str, Feed] = {feed.name: feed for feed in (TRADES,)}
"""In the order in which people read them."""
