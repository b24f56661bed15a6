"""All feeds, by their names."""

from collections.abc import Iterable, Mapping

from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.tips.feed import TIPS
from polycopy_assets.feeds.trades.feed import TRADES

FEEDS: Mapping[str, Feed] = {feed.name: feed for feed in (TRADES, ACTIVITY, TIPS)}
"""In the order in which people read them."""


def named(names: Iterable[str]) -> tuple[Feed, ...]:
    """The feeds of those names, in their order; raises KeyError for a name of none."""
    return tuple(FEEDS[name] for name in names)
