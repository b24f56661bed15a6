"""Manifests, read one at a time and judged; and whether a batch's files are what one says."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import msgspec

from polycopy_assets.errors import ObjectLost, StoreError
from polycopy_assets.store.base import Stored
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Claim, Manifest, Numbered, Part
from polycopy_assets.trades.batch_rules import FURTHEST, LAST_BATCH, problem

_READERS = 8
_CHUNK = 1 << 20
_AHEAD = 16 * 2**20
"""Bytes of manifests that are read ahead of the one that is looked at."""

_KEPT = 16 * 2**20
"""Bytes of manifests that are kept, so that a batch is not read once to know and once to load."""


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that cannot be used: the name of its manifest, and why.

    `number` is 0 if its own number cannot be trusted; `claims` is empty if the manifest cannot be
    read.
    """

    name: str
    why: str
    number: int = 0
    claims: list[Claim] = []


class _Kept:
    """The bytes of the manifests that were read last, as long as the store lists them as read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes: OrderedDict[tuple[str, str], tuple[Stored, bytes]] = OrderedDict()
        self._size = 0

    def read(self, store: FeedStore, listed: Stored) -> bytes:
        """The manifest's bytes; raises ObjectLost."""
        key = (store.uri(listed.name), listed.name)
        with self._lock:
            found = self._bytes.get(key)
        if found and found[0] == listed:
            return found[1]
        data = store.read(listed.name)
        with self._lock:
            self._drop(key)
            self._bytes[key] = (listed, data)
            self._size += len(data)
            while self._size > _KEPT:
                self._drop(next(iter(self._bytes)))
        return data

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._bytes.clear()
            self._size = 0

    def _drop(self, key: tuple[str, str]) -> None:
        found = self._bytes.pop(key, None)
        self._size -= len(found[1]) if found else 0


_kept = _Kept()
forget_bytes = _kept.clear


def stream(
    store: FeedStore, listed: Iterable[Stored], last: int = 0
) -> Iterator[Manifest | Broken]:
    """The batches whose manifests are `listed`, in the order of their numbers, one at a time.

    `last` is the number of the batch before them. A batch numbered far beyond the one before it is
    broken. One that is gone since it was listed is left out. Raises StoreError if one cannot be
    read, or was written by a newer version.
    """
    for found in _each(store, listed):
        number = found.batch if isinstance(found, Manifest) else found.number
        far = number > min(last + FURTHEST, LAST_BATCH)
        if isinstance(found, Broken):
            # Its number is not trusted either if it is that far beyond.
            yield msgspec.structs.replace(found, number=0) if far else found
        elif far:
            why = f"its number {number} is far beyond {last}"
            yield Broken(name=store.names.manifest(number), why=why, claims=found.claims)
        else:
            last = number
            yield found


def _each(store: FeedStore, listed: Iterable[Stored]) -> Iterator[Manifest | Broken]:
    """Reads some manifests ahead, but not more than `_AHEAD` bytes beyond the next one."""
    waiting: deque[tuple[Stored, Future[bytes]]] = deque()
    ahead = 0

    def first() -> Iterator[Manifest | Broken]:
        nonlocal ahead
        item, data = waiting.popleft()
        ahead -= item.size
        try:
            yield _judged(store, item.name, data.result())
        except ObjectLost:
            return

    with ThreadPoolExecutor(_READERS, thread_name_prefix="manifest") as readers:
        for item in listed:
            while waiting and (ahead + item.size > _AHEAD or len(waiting) >= 2 * _READERS):
                yield from first()
            waiting.append((item, readers.submit(_kept.read, store, item)))
            ahead += item.size
        while waiting:
            yield from first()


def read_manifest(store: FeedStore, listed: Stored) -> Manifest | Broken:
    """The manifest of one batch; raises StoreError, and ObjectLost if it is gone."""
    return _judged(store, listed.name, _kept.read(store, listed))


def _judged(store: FeedStore, name: str, data: bytes) -> Manifest | Broken:
    number = store.names.parse_manifest(name) or 0
    try:
        manifest = Manifest.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Broken(name=name, why=f"it cannot be read: {error}")
    schema = store.feed.schema
    if manifest.schema > schema and manifest.batch == number:
        raise StoreError(
            f"{store.uri(name)} was written by a newer version of polycopy (schema"
            f" {manifest.schema}; this one reads up to {schema}): use the newer version"
        )
    wrong = problem(manifest, number, store.names, schema)
    if wrong:
        own = number if manifest.batch == number else 0
        return Broken(name=name, why=wrong, number=own, claims=manifest.claims)
    return manifest


def broken_batch(store: FeedStore, listed: Stored, number: int, why: str) -> Broken:
    """A batch that is broken although its manifest was sound when it was read first."""
    try:
        found = read_manifest(store, listed)
    except ObjectLost:
        return Broken(name=listed.name, why=why, number=number)
    return Broken(name=listed.name, why=why, number=number, claims=found.claims)


def with_broken_files(
    store: FeedStore, batches: Iterable[Numbered], listed: Mapping[int, Stored]
) -> list[Broken]:
    """Those of `batches` that cannot be loaded: their files are not what their manifests say."""
    found: list[Broken] = []
    for item in batches:
        try:
            manifest = read_manifest(store, listed[item.batch])
        except ObjectLost as error:
            found.append(Broken(name=error.name, why=error.why, number=item.batch))
            continue
        if isinstance(manifest, Broken):
            found.append(msgspec.structs.replace(manifest, number=item.batch))
        elif why := wrong_files(store, manifest):
            found.append(broken_batch(store, listed[item.batch], item.batch, why))
    return found


def wrong_files(store: FeedStore, manifest: Manifest) -> str:
    """How the files of a batch differ from what its manifest says; empty if they do not.

    Costs one listing of the batch's folder. If the listing has no checksums, every file is read.
    """
    folder = store.names.batch(manifest.batch)
    there = {item.name: item for item in store.list(folder)}
    names = {part.name for part in manifest.files}
    for part in manifest.files:
        item = there.get(part.name)
        if item is None:
            return f"{part.name} is gone"
        if item.size != part.size:
            return f"{part.name} has {counted(item.size, 'byte')} and should have {part.size}"
        try:
            checksum = item.crc32c or _checksum(store, part.name)
        except ObjectLost:
            return f"{part.name} is gone"
        if checksum != part.crc32c:
            return f"{part.name} has a different checksum"
    # A transfer loads every file in the folder.
    own = {name.rpartition("/")[0] for name in names}
    beside = [n for n in there if n.rpartition("/")[0] in own and n not in names]
    return f"{beside[0]} is an unexpected file among its files" if beside else ""


@contextmanager
def checked_file(store: FeedStore, part: Part) -> Iterator[Path]:
    """A file of a batch, to read; raises ObjectLost if it is not what the manifest says."""
    with store.local(part.name) as path:
        if _checksum_of(store, part.name, path) != part.crc32c:
            raise ObjectLost(part.name, "has a different checksum")
        yield path


def _checksum(store: FeedStore, name: str) -> str:
    with store.local(name) as path:
        return _checksum_of(store, name, path)


def _checksum_of(store: FeedStore, name: str, path: Path) -> str:
    """The checksum of an object in a local file, read piece by piece."""
    checksum = google_crc32c.Checksum()
    try:
        with path.open("rb") as file:
            for _ in checksum.consume(file, _CHUNK):
                pass
    except OSError as error:
        raise StoreError(f"cannot read {store.uri(name)}: {error.strerror}") from error
    return checksum.digest().hex()
