"""The conditions that the batches of each feed have brought since they were last read."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from polycopy_assets.batches.conditions import conditions_in
from polycopy_assets.dimensions.facts import parse_condition
from polycopy_assets.errors import ObjectLost
from polycopy_assets.pipeline.ports import Check
from polycopy_assets.store.feed_store import FeedStore


class Loaded(NamedTuple):
    """The batches of a feed that its table holds; `in_table` reads all conditions of the table."""

    store: FeedStore
    batches: frozenset[int]
    in_table: Callable[[], Collection[str]]


class Read(NamedTuple):
    """Up to which batch the conditions of each feed were read: of the first one, and of others."""

    first: int
    others: Mapping[str, int]


class Found(NamedTuple):
    """What was found: conditions, values that are none, and up to which batches that is all."""

    conditions: set[str]
    odd: set[str]
    read: Read


def new_conditions(loaded: Sequence[Loaded], before: Read, check: Check) -> Found:
    """The conditions and odd values of the batches that are loaded and were not read `before`.

    Feed by feed in their order. What is not among `loaded` stays as it was. Raises StoreError, and
    WarehouseError if a table has to be read.
    """
    found = Found(set(), set(), before)
    for each in loaded:
        feed = each.store.feed
        since = found.read.first if feed.bare else found.read.others.get(feed.name, 0)
        last = _of_feed(each, since, found, check)
        if last <= since:
            continue
        read = (
            found.read._replace(first=last)
            if feed.bare
            else found.read._replace(others={**found.read.others, feed.name: last})
        )
        found = found._replace(read=read)
    return found


def _of_feed(loaded: Loaded, since: int, found: Found, check: Check) -> int:
    """Adds what the batches after `since` have; returns the last batch up to which that is all.

    A batch whose manifest cannot be used now is read by a later run, and so are all after it. If
    parts of one are gone, as they may be, or damaged, the table is read: it has the rows of all.
    """
    new = {number for number in loaded.batches if number > since}
    unread = set(new)
    last = max(loaded.batches, default=0)
    try:
        for number, values in conditions_in(loaded.store, new):
            check()
            unread.discard(number)
            _add(values, found)
    except ObjectLost:
        check()
        _add(loaded.in_table(), found)
        return last
    if unread:
        listed = set(_listed(loaded.store))
        last = min((number - 1 for number in unread if number in listed), default=last)
    return last


def _add(values: Iterable[str], found: Found) -> None:
    for value in values:
        condition = parse_condition(value)
        if condition is None:
            found.odd.add(value)
        else:
            found.conditions.add(condition)


def _listed(store: FeedStore) -> Iterator[int | None]:
    """The numbers of the manifests that there are."""
    for item in store.list(store.names.manifests):
        yield store.names.parse_manifest(item.name)
