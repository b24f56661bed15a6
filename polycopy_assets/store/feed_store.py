"""A store as one feed sees it: the objects, and what the feed says about their names and rows.

Whoever is given one works for that feed, and needs to be told no more. Names are those of the whole
store, so that a manifest, an error and a person who lists the store mean the same object.
"""

from polycopy_assets.feeds.base import Feed
from polycopy_assets.store.around import Around
from polycopy_assets.store.base import Store
from polycopy_assets.trades.names import Names


class FeedStore(Around):
    """`store` for the objects of `feed`."""

    def __init__(self, store: Store, feed: Feed) -> None:
        super().__init__(store.whole if isinstance(store, FeedStore) else store)
        self.feed = feed

    @property
    def whole(self) -> Store:
        """The store itself."""
        return self._store

    @property
    def names(self) -> Names:
        """What the feed's objects are called."""
        return self.feed.names
