"""The batches of a store, divided into sound and broken ones, and what the sound ones hold.

Of a manifest nothing is kept but its number and what it adds to its wallets, so that memory does
not grow with the number of manifests. What was read is remembered: as long as the store lists the
same manifests, a process reads each of them once.
"""

import threading
from collections.abc import Container, Iterator, Mapping
from collections.abc import Set as AbstractSet
from logging import Logger

import msgspec

from polycopy_assets.batches import summaries
from polycopy_assets.batches.manifest_files import Broken, forget_bytes, stream
from polycopy_assets.errors import StoreError
from polycopy_assets.store.base import Stored
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Header, Manifest
from polycopy_assets.trades.holdings import Holdings

SUMMARY_EVERY = 32
"""Batches after which a new summary is written: at most so many manifests are read besides it."""


class Batches(msgspec.Struct, frozen=True, kw_only=True):
    """The batches of a store in order. `strange` names other objects among the manifests.

    `held` is what the sound batches hold together, `listed` are their manifests and those of broken
    batches, by the number in the name. `summarized` is the number of the last batch that was read
    from a summary; 0 without one.
    """

    sound: list[Header]
    broken: list[Broken]
    strange: list[str]
    held: Holdings
    listed: Mapping[int, Stored]
    summarized: int = 0


class _Remembered:
    """The batches of the store that was read last, for each feed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._batches: dict[str, tuple[str, Batches]] = {}

    def get(self, store: FeedStore, listed: Mapping[int, Stored]) -> Batches | None:
        """What was read of `store`, if all of it is still listed and only later batches came."""
        uri, found = self._batches.get(store.feed.name, ("", None))
        if found is None or uri != store.uri(store.names.manifests):
            return None
        last = max(found.listed, default=0)
        then = {number: item for number, item in listed.items() if number <= last}
        return found if then == found.listed else None

    def put(self, store: FeedStore, batches: Batches) -> None:
        """Remembers what was read of `store`."""
        self._batches[store.feed.name] = (store.uri(store.names.manifests), batches)

    def clear(self) -> None:
        """Forgets it."""
        self._batches.clear()


_remembered = _Remembered()


def forget() -> None:
    """Forgets what this process has read of manifests.

    A listing may not show that a manifest was written over, so work that takes long begins with
    this.
    """
    with _remembered.lock:
        _remembered.clear()
    forget_bytes()


def read_batches(
    store: FeedStore, *, without: AbstractSet[int] = frozenset(), everything: bool = False
) -> Batches:
    """All batches whose manifests are in the store; those numbered in `without` count as gone.

    With `everything` each manifest is read, whatever is remembered or in a summary. Raises
    StoreError if one cannot be read, or was written by a newer version.
    """
    names = list(store.list(store.names.manifests))
    numbers = [(item, store.names.parse_manifest(item.name)) for item in names]
    listed = dict(sorted((number, item) for item, number in numbers if number is not None))
    strange = [
        item.name for item, number in numbers if number is None and not item.name.endswith("/")
    ]
    if everything:
        forget()
    with _remembered.lock:
        known = None if without or everything else _remembered.get(store, listed)
        if known is None:
            known = _from_summary(store, listed, without, everything=everything)
        found = _continued(store, known, listed, without, strange)
        if not without:
            _remembered.put(store, found)
    return found


def _from_summary(
    store: FeedStore, listed: Mapping[int, Stored], without: AbstractSet[int], *, everything: bool
) -> Batches:
    """What the newest usable summary says; nothing if there is none."""
    known = None if everything else summaries.newest(store, listed)
    if known is None or any(number <= known.last for number in without & listed.keys()):
        nothing = Holdings(store.feed.schema)
        return Batches(sound=[], broken=[], strange=[], held=nothing, listed={})
    return Batches(
        sound=known.batches,
        broken=[],
        strange=[],
        held=known.held,
        listed={number: item for number, item in listed.items() if number <= known.last},
        summarized=known.last,
    )


def _continued(
    store: FeedStore,
    known: Batches,
    listed: Mapping[int, Stored],
    without: AbstractSet[int],
    strange: list[str],
) -> Batches:
    """`known`, and the batches that are listed beside them."""
    sound, broken = list(known.sound), list(known.broken)
    held = known.held.copy()
    new = [n for n in listed if n not in known.listed and n not in without]
    last = sound[-1].batch if sound else 0
    for found in stream(store, [listed[number] for number in new], last):
        if isinstance(found, Broken):
            broken.append(found)
        else:
            sound.append(Header(found.batch, found.rows, found.schema))
            held.add(found)
    return Batches(
        sound=sound,
        broken=broken,
        strange=strange,
        held=held,
        listed=listed,
        summarized=known.summarized,
    )


def sound_batches(store: FeedStore, only: Container[int] | None = None) -> Batches:
    """The batches that may be loaded: all that are sound, or those of them numbered in `only`."""
    found = read_batches(store)
    if only is None:
        return found
    left = [item for item in found.sound if item.batch in only]
    return msgspec.structs.replace(found, sound=left)


def read_manifests(
    store: FeedStore, only: Container[int] | None = None, *, after: int = 0
) -> Iterator[Manifest]:
    """The manifests of all sound batches, or of those numbered in `only`, one at a time.

    They come in order, and each is read, but for those up to number `after`.
    """
    numbered = _ordered(store)
    last = max((number for number, _ in numbered if number <= after), default=0)
    for found in stream(store, [item for number, item in numbered if number > after], last):
        if isinstance(found, Manifest) and (only is None or found.batch in only):
            yield found


def broken_manifests(store: FeedStore) -> Iterator[Broken]:
    """The batches whose manifests cannot be used; all manifests are read, one at a time."""
    for found in stream(store, [item for _, item in _ordered(store)]):
        if isinstance(found, Broken):
            yield found


def _ordered(store: FeedStore) -> list[tuple[int, Stored]]:
    parse = store.names.parse_manifest
    listed = ((parse(item.name), item) for item in store.list(store.names.manifests))
    return sorted((n, item) for n, item in listed if n is not None)


def summarize(store: FeedStore, log: Logger) -> None:
    """Writes a summary if enough batches were committed since the last one.

    None while a batch is broken: what it holds is combined again, and then it is set aside. The
    work does not depend on a summary, so one that cannot be written is only logged.
    """
    found = read_batches(store)
    since = sum(item.batch > found.summarized for item in found.sound)
    if found.broken or since < SUMMARY_EVERY:
        return
    try:
        name = summaries.write(store, found.listed, found.sound, found.held)
    except (StoreError, OSError) as error:  # OSError: there is no room for a temporary file
        log.warning(
            f"no summary of {counted(len(found.sound), 'manifest')} could be written: {error}"
        )
        return
    log.info(f"{counted(len(found.sound), 'manifest')} summarized in {name}")
    with _remembered.lock:
        _remembered.put(store, msgspec.structs.replace(found, summarized=max(found.listed)))
