"""A full refetch of a wallet; the old data stays valid until it is replaced.

A marker in the wallet's folder names the segments to be replaced. While it exists they do not count
as stored, so that the walk requests everything again; they stay readable, and recorded, until the
new segments are recorded. Then they are deleted, and the marker last: if the process is killed in
between, the marker remains, and the next fetch of the wallet continues from there.

No new segment gets the name of an old one, though most rows are the same: new segments do not touch
at a second at which an old one begins or ends, if there is any other. So what the marker names is
old, whatever happens. It names none if the wallet had no trades until then.
"""

from collections.abc import Collection

import msgspec

from polycopy_assets.errors import ObjectDamaged, ObjectExists
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import quoted


def begin(store: FeedStore, wallet: str, names: Collection[str]) -> frozenset[str]:
    """Marks the segments `names` for replacement; returns those that the marker names."""
    try:
        store.create(store.names.marker(wallet), msgspec.json.encode(sorted(names)))
    except ObjectExists:
        return being_replaced(store, wallet)  # another run was first
    return frozenset(names)


def being_replaced(store: FeedStore, wallet: str) -> frozenset[str]:
    """The segments that the marker names, all of `wallet`.

    Raises ObjectDamaged if the marker is invalid, ObjectLost if there is none.
    """
    where = store.uri(store.names.marker(wallet))
    advice = "`polycopy reconcile --apply` sets it aside"
    try:
        names = msgspec.json.decode(store.read(store.names.marker(wallet)), type=list[str])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ObjectDamaged(where, f"is damaged: {error}; {advice}") from error
    for name in names:
        named = store.names.parse_segment(name)
        if named is None or named[0] != wallet:
            # Every object that it names is deleted in the end.
            raise ObjectDamaged(
                where, f"is damaged: {quoted(name)} is no segment of the wallet; {advice}"
            )
    return frozenset(names)


def finish(store: FeedStore, wallet: str, superseded: Collection[str]) -> None:
    """Deletes the replaced segments; to be called when the new ones are recorded."""
    for name in superseded:
        store.delete(name)
    store.delete(store.names.marker(wallet))
