"""The wanted list of a store: read, changed by several writers at once, and folded.

A change is a new object under the next number, which only one writer can create; the others read
again. After `FOLD_AFTER` changes one object with everything is written, and the objects before the
previous such object are deleted. So a damaged one loses nothing, and neither does a kill.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from polycopy_assets.errors import (
    ContractBroken,
    ObjectExists,
    ObjectKept,
    ObjectLost,
    StoreError,
)
from polycopy_assets.store.base import Store
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.trades.wanted import (
    WANTED,
    Entry,
    Packed,
    State,
    pack,
    parse_wanted_name,
    unpack,
    wanted_name,
)

FOLD_AFTER = 16
"""With more changes than this after the last whole object, everything is written as one."""

_TRIES = 100
_READ_AGAIN = 5
_PAUSE_SECONDS = 0.05
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the list says of each wallet.

    `base` is the number of the whole object that counts (0: none yet) and `last` that of the last
    object. `damaged` maps objects that cannot be read, or are missing, to the reason; `strange`
    names others beside them.
    """

    entries: Mapping[str, Entry]
    base: int = 0
    last: int = 0
    damaged: Mapping[str, str] = field(default_factory=dict)
    strange: tuple[str, ...] = ()

    def state(self, wallet: str) -> State | None:
        """What is wanted of the wallet; None if the list does not name it."""
        found = self.entries.get(wallet)
        return found.state if found else None

    @cached_property
    def wanted(self) -> list[str]:
        """The wallets that are collected, sorted."""
        return sorted(w for w, item in self.entries.items() if item.state is State.WANTED)

    @cached_property
    def retired(self) -> dict[str, State]:
        """The wallets that are not collected any more."""
        return {w: item.state for w, item in self.entries.items() if item.state != State.WANTED}


Decide = Callable[[Wanted], Iterable[Entry]]
"""What to state, given what the list says; it is asked again if others have changed the list."""


def read_wanted(store: Store) -> Wanted:
    """What the list says; a listing and at most `2 * FOLD_AFTER` small reads.

    Raises StoreError if the store cannot be read.
    """
    return _read(store, {})


_Seen = dict[str, Packed | ContractBroken]
"""The objects that were read, by name: they never change."""


def change_wanted(
    store: Store, decide: Decide, *, sleep: Callable[[float], None] = time.sleep
) -> list[Entry]:
    """Makes durable what `decide` states, in one object; returns the entries that were written.

    None if it states nothing. Raises StoreError if the store cannot be written, or others change
    the list all the time.
    """
    written: dict[str, Entry] = {}
    seen: _Seen = {}
    for _ in range(_TRIES):
        found = _read(store, seen)
        new = list(decide(found))
        if not new:
            return list(written.values())
        number = found.last + 1
        try:
            store.create(wanted_name(number), pack(new, whole=False))
        except ObjectExists:
            sleep(random.uniform(0, _PAUSE_SECONDS))
            continue
        written |= {item.wallet: item for item in new}
        # A writer that was asleep may have created a number that others have folded and deleted:
        # then the list does not say it, and it is written again.
        after = _read(store, seen)
        if after.base < number:
            _fold(store, after)
            return list(written.values())
    raise StoreError(
        f"{store.uri(WANTED)}: other processes changed the wanted list {_TRIES} times meanwhile:"
        " run it again when they have ended"
    )


def _read(store: Store, seen: _Seen) -> Wanted:
    before: Mapping[str, str] = {}
    for _ in range(_READ_AGAIN):
        try:
            found = _read_once(store, seen)
        except ObjectLost:
            continue  # another process has folded the list since it was listed
        if found.damaged == before:
            return found
        before = found.damaged  # a directory that changes while it is listed may lack an object
    return _read_once(store, seen)


def _read_once(store: Store, seen: _Seen) -> Wanted:
    names = [item.name for item in store.list(WANTED) if not item.name.endswith("/")]
    numbers = {number: name for name in names if (number := parse_wanted_name(name)) is not None}
    damaged: dict[str, str] = {}
    later: list[list[Entry]] = []
    base: Packed | None = None
    last = max(numbers, default=0)
    number = above = last
    for number in sorted(numbers, reverse=True):
        if gap := range(number + 1, above):
            damaged[wanted_name(gap[0])] = _missing(len(gap))
        above = number
        name = numbers[number]
        if name not in seen:
            seen[name] = _unpacked(store.read(name))
        found = seen[name]
        if isinstance(found, ContractBroken):
            damaged[name] = f"is damaged: {found}"
            continue
        if found.whole:
            base = found
            break
        later.append(found.entries)
    entries = {item.wallet: item for item in (base.entries if base else ())}
    for changes in reversed(later):
        entries |= {item.wallet: item for item in changes}
    return Wanted(
        entries=entries,
        base=number if base else 0,
        last=last,
        damaged=damaged,
        strange=tuple(name for name in names if parse_wanted_name(name) is None),
    )


def _missing(objects: int) -> str:
    return "is missing" if objects == 1 else f"is missing, and the {objects - 1:,} after it"


def _unpacked(data: bytes) -> Packed | ContractBroken:
    try:
        return unpack(data)
    except ContractBroken as error:
        return error


def _fold(store: Store, found: Wanted) -> None:
    """Writes everything as one object if there are many changes, or damaged ones among them."""
    if found.last - found.base <= FOLD_AFTER and not found.damaged:
        return
    entries = [found.entries[wallet] for wallet in sorted(found.entries)]
    try:
        store.create(wanted_name(found.last + 1), pack(entries, whole=True))
    except ObjectExists:
        return  # another process has changed the list, and folds it if that is due
    for name in found.damaged:
        _removed(lambda name=name: set_aside(store, name))
    for item in store.list(WANTED):
        number = parse_wanted_name(item.name)
        if number is not None and number < found.base:
            _removed(lambda name=item.name: store.delete(name))


def _removed(remove: Callable[[], object]) -> None:
    try:
        remove()
    except ObjectKept as error:
        _LOG.warning("an object that is not needed any more stays: %s", error)
