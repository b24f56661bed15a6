"""What was done already, and what was asked for again."""

from polycopy_assets.demo.faults import Asked
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.trades.interval import Interval
from polycopy_assets_tests.deployment import Deployment


def stored_spans(deployment: Deployment, feed: Feed = TRADES) -> dict[str, list[Interval]]:
    """What the segments and coverage objects in the store cover, by wallet."""
    found: dict[str, list[Interval]] = {}
    store = FeedStore(deployment.store, feed)
    for item in store.list(store.names.segments):
        if item.name.endswith(".jsonl"):
            continue  # the old job's
        named = store.names.parse_segment(item.name)
        assert named, item.name
        found.setdefault(named[0], []).append(named[1])
    for wallet, stated in read_coverage(store).statements.items():
        found.setdefault(wallet, []).append(stated.span)
    return found


def asked_again(asked: list[Asked], durable: dict[str, list[Interval]]) -> list[Asked]:
    """Requests that reach into what was durable before they were sent."""
    return [
        item
        for item in asked
        for span in durable.get(item.wallet, ())
        if item.start < span.until and item.end >= span.start
    ]
