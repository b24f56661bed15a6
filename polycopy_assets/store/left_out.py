"""Which types of a feed's rows a store does not hold, because whoever fetched did not want them.

It is settled by the first fetch, in one small object that is never changed. A store that lacked
rows of a type before some day, and has them since, would look complete and not be.
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from polycopy_assets.errors import ConfigurationError, ObjectDamaged, ObjectExists, ObjectLost
from polycopy_assets.settings.feeds import WITHOUT
from polycopy_assets.store.feed_store import FeedStore


class _LeftOut(msgspec.Struct, frozen=True):
    types: list[str]


def settle(store: FeedStore, wanted: Sequence[str]) -> None:
    """Makes `wanted`, sorted, the types that `store` leaves out, or checks that they are.

    One small read; nothing for a feed without types. Raises ConfigurationError if the store leaves
    out others, ObjectDamaged if its object cannot be read, or is not there although something was
    fetched.
    """
    if not store.names.left_out:
        return
    try:
        settled = _read(store)
    except ObjectLost:
        settled = _make(store, wanted)
    _compare(store, settled, wanted)


def _compare(store: FeedStore, settled: Sequence[str], wanted: Sequence[str]) -> None:
    if settled != [*wanted]:
        has = f"without {', '.join(settled)}" if settled else "whole"
        to_do = f"set {WITHOUT}={','.join(settled)}" if settled else f"unset {WITHOUT}"
        given = f"={','.join(wanted)}" if wanted else " is not set"
        raise ConfigurationError(
            f"{WITHOUT}{given}, and {store.uri(store.feed.name)} was begun {has}, and stays"
            f" so; {to_do}, or fetch into another store"
        )


def refuse_others(store: FeedStore, wanted: Sequence[str]) -> None:
    """Raises ConfigurationError if `store` leaves out other types than `wanted`, which are sorted.

    Nothing is written; what else may be wrong with the store, the fetch says.
    """
    if not store.names.left_out:
        return
    with suppress(ObjectLost, ObjectDamaged):
        _compare(store, _read(store), wanted)


def _read(store: FeedStore) -> list[str]:
    """The types, sorted, whoever wrote them; raises ObjectLost if there is no such object."""
    name = store.names.left_out
    try:
        return sorted(msgspec.json.decode(store.read(name), type=_LeftOut).types)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ObjectDamaged(store.uri(name), f"is damaged: {error}") from error


def _make(store: FeedStore, types: Sequence[str]) -> list[str]:
    """Creates the object; returns what it then says: another process may have been faster."""
    name = store.names.left_out
    if _begun(store):
        nothing = msgspec.json.encode(_LeftOut([])).decode()
        raise ObjectDamaged(
            store.uri(name),
            f"is not there, but {store.feed.rows} were fetched: put it back from a copy of the"
            f" store, or, if an earlier version of polycopy fetched them, create it with {nothing}",
        )
    try:
        store.create(name, msgspec.json.encode(_LeftOut([*types])))
    except ObjectExists:
        return _read(store)
    return [*types]


def _begun(store: FeedStore) -> bool:
    """Whether any wallet was fetched: one without rows has no segment, but time without rows."""
    names = store.names
    return any(names.parse_segment(item.name) for item in store.list(names.segments)) or any(
        names.parse_coverage(item.name) for item in store.list(names.coverage)
    )
