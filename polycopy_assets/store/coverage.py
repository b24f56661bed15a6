"""The coverage objects of a store: read once, added to, and folded into one.

Objects are read in the order of their numbers, and a later statement about a wallet replaces an
earlier one. Folding writes the result as one object, and deletes the others, the oldest first: if
it is killed in between, what is left says the same.

Numbers have no gaps. Where an object is missing or damaged, it may have taken back what earlier
ones say: they count for nothing then, and their wallets are asked again.
"""

import logging
import threading
import uuid
from collections.abc import Collection, Iterable, Mapping
from operator import itemgetter

import msgspec

from polycopy_assets.errors import ContractBroken, ObjectKept, ObjectLost
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.trades.coverage import NOTHING, Covered, pack, unpack
from polycopy_assets.trades.horizon import beyond
from polycopy_assets.trades.interval import Interval

FOLD_AFTER = 16
"""With more coverage objects than this, they are folded."""

_READ_AGAIN = 5
_LOG = logging.getLogger(__name__)


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What all coverage objects say: the latest statement about each wallet.

    `objects` are their names in the order of their numbers, `damaged` maps those that cannot be
    read to the reason, and `strange` names other objects beside them.
    """

    statements: Mapping[str, Covered]
    objects: tuple[str, ...]
    damaged: Mapping[str, str]
    strange: tuple[str, ...]

    def of(self, wallet: str) -> Interval | None:
        """The interval behind the wallet's last segment that has no trades, if any is known."""
        found = self.statements.get(wallet)
        return found.span if found else None

    @property
    def latest(self) -> Covered | None:
        """The statement of the latest time, by the source's clock."""
        return max(self.statements.values(), key=lambda item: item.at, default=None)


def read_coverage(store: FeedStore) -> Coverage:
    """Reads all coverage objects that count; raises StoreError."""
    seen: _Seen = {}
    for _ in range(_READ_AGAIN):
        try:
            return _read(store, seen)
        except ObjectLost:
            continue  # another process has folded it since it was listed
    return _read(store, seen)


_Seen = dict[str, list[Covered] | ContractBroken]
"""The objects that were read, by name: they never change."""


def _read(store: FeedStore, seen: _Seen) -> Coverage:
    folder, parse = store.names.coverage, store.names.parse_coverage
    names = [item.name for item in store.list(folder) if not item.name.endswith("/")]
    numbers = {name: parsed[0] for name in names if (parsed := parse(name))}
    ordered = sorted(numbers.items(), key=itemgetter(1, 0))
    statements: dict[str, Covered] = {}
    damaged: dict[str, str] = {}
    # The newest first: folding deletes the oldest first, and so is met once at most.
    for name, _ in reversed(ordered):
        if name not in seen:
            seen[name] = _unpacked(store.read(name))
    last = ordered[0][1] if ordered else 0
    for name, number in ordered:
        if number > last + 1:
            statements.clear()
        last = number
        found = seen[name]
        if isinstance(found, ContractBroken):
            damaged[name] = f"is damaged: {found}"
            statements.clear()
        else:
            _take(statements, found)
    return Coverage(
        statements=statements,
        objects=tuple(name for name, _ in ordered),
        damaged=damaged,
        strange=tuple(name for name in names if name not in numbers),
    )


def _unpacked(data: bytes) -> list[Covered] | ContractBroken:
    try:
        return unpack(data)
    except ContractBroken as error:
        return error


def _take(known: dict[str, Covered], statements: Iterable[Covered]) -> None:
    for item in statements:
        if item.span == NOTHING:
            known.pop(item.wallet, None)
        else:
            known[item.wallet] = item


class CoverageWriter:
    """Adds to the coverage of `store`; for the run that holds the lock on the source.

    Can be used from several threads.
    """

    def __init__(self, store: FeedStore, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._lock = threading.Lock()
        found = read_coverage(store)
        self._damaged = found.damaged
        self._known = dict(found.statements)
        self._objects = list(found.objects)

    def of(self, wallet: str) -> Interval | None:
        """The interval behind the wallet's last segment that has no trades, if any is known."""
        found = self._known.get(wallet)
        return found.span if found else None

    def stated_by(self, run_ids: Iterable[str]) -> Mapping[str, Interval]:
        """What these runs stated of each wallet, as far as it still holds and was not folded."""
        runs = {run_id[:8] for run_id in run_ids}
        named = ((name, self._store.names.parse_coverage(name)) for name in self._objects)
        theirs = [name for name, parsed in named if parsed and parsed[1] in runs]
        return {
            item.wallet: item.span
            for name in theirs
            if name not in self._damaged
            for item in unpack(self._store.read(name))
            if self._known.get(item.wallet) == item
        }

    def add(self, statements: Collection[Covered]) -> str:
        """Makes `statements` durable in one new object; returns its name."""
        with self._lock:
            name = self._create(statements)
            _take(self._known, statements)
            return name

    def forget(self, wallets: Iterable[str]) -> None:
        """Takes back what is known of `wallets`: what it covered has to be requested again."""
        known = [wallet for wallet in wallets if wallet in self._known]
        if known:
            self.add([Covered(wallet, *NOTHING) for wallet in known])

    def forget_beyond(self, horizon: int) -> None:
        """Takes back all statements that end too far after the source's horizon.

        They were written with a wrong clock or status, and would be believed later.
        """
        wrong = [w for w, item in self._known.items() if beyond(item.until, horizon)]
        if wrong:
            self.forget(wrong)
            self.fold(most=0)  # or they would count again if the newest object were lost

    def fold(self, most: int = FOLD_AFTER) -> None:
        """Writes one object instead of more than `most`, or if there are damaged ones among them.

        One that cannot be deleted stays: the new object says all that counts.
        """
        with self._lock:
            old = list(self._objects)
            if len(old) <= most and not self._damaged:
                return
            self._create([self._known[wallet] for wallet in sorted(self._known)])
            for name in old:
                try:
                    self._remove(name)
                except ObjectKept as error:
                    _LOG.warning("a coverage object that is not needed any more stays: %s", error)
                else:
                    self._objects.remove(name)
            self._damaged = {}

    def _remove(self, name: str) -> None:
        if name in self._damaged:
            set_aside(self._store, name)
        else:
            self._store.delete(name)

    def _create(self, statements: Iterable[Covered]) -> str:
        names = self._store.names
        numbers = [parsed[0] for name in self._objects if (parsed := names.parse_coverage(name))]
        name = names.coverage_object(max(numbers, default=0) + 1, self._run_id, uuid.uuid4().hex)
        self._store.create(name, pack(statements), {"run": self._run_id})
        self._objects.append(name)
        return name
