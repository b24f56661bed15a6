"""The batches of a store: read, and divided into sound and broken ones."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter

import google_crc32c
import msgspec

from polycopy_assets.errors import ObjectLost, StoreError
from polycopy_assets.store.base import Store
from polycopy_assets.trades.batch import (
    MANIFESTS,
    PARTS,
    SCHEMA,
    Claim,
    Manifest,
    manifest_name,
    parse_manifest_name,
)
from polycopy_assets.trades.batch_rules import FURTHEST, LAST_BATCH, problem

_READERS = 8
_CHUNK = 1 << 20


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that cannot be used: the name of its manifest, and why.

    `number` is 0 if its own number cannot be trusted; `claims` is empty if the manifest cannot be
    read.
    """

    name: str
    why: str
    number: int = 0
    claims: Sequence[Claim] = ()


class Batches(msgspec.Struct, frozen=True, kw_only=True):
    """The batches of a store in order. `strange` names other objects among the manifests."""

    sound: list[Manifest]
    broken: list[Broken]
    strange: list[str]


def read_batches(store: Store) -> Batches:
    """All batches whose manifests are in the store.

    Raises StoreError if one cannot be read, or was written by a newer version.
    """
    names = [item.name for item in store.list(MANIFESTS)]
    numbers = {name: number for name in names if (number := parse_manifest_name(name)) is not None}

    def read(item: tuple[str, int]) -> Manifest | Broken | None:
        name, number = item
        try:
            return _read(store, name, store.read(name), number)
        except ObjectLost:
            return None  # set aside since it was listed

    with ThreadPoolExecutor(_READERS, thread_name_prefix="manifest") as readers:
        found = list(readers.map(read, sorted(numbers.items(), key=itemgetter(1))))
    near, broken = _near(item for item in found if item is not None)
    return Batches(
        sound=near,
        broken=broken,
        strange=[name for name in names if name not in numbers and not name.endswith("/")],
    )


def _near(
    found: Iterable[Manifest | Broken],
) -> tuple[list[Manifest], list[Broken]]:
    """(sound, broken) batches; a batch numbered far beyond the one before it counts as broken.

    The number of a broken batch is not trusted either if it is that far beyond.
    """
    near: list[Manifest] = []
    broken: list[Broken] = []
    last = 0
    for item in found:
        number = item.batch if isinstance(item, Manifest) else item.number
        far = number > min(last + FURTHEST, LAST_BATCH)
        if isinstance(item, Broken):
            broken.append(msgspec.structs.replace(item, number=0) if far else item)
        elif far:
            why = f"its number {number} is far beyond {last}"
            broken.append(Broken(name=manifest_name(number), why=why, claims=item.claims))
        else:
            near.append(item)
            last = number
    return near, broken


def _read(store: Store, name: str, data: bytes, number: int) -> Manifest | Broken:
    try:
        manifest = Manifest.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Broken(name=name, why=f"it cannot be read: {error}")
    if manifest.schema > SCHEMA and manifest.batch == number:
        raise StoreError(
            f"{store.uri(name)} was written by a newer version of polycopy (schema"
            f" {manifest.schema}; this one reads up to {SCHEMA}): use the newer version"
        )
    wrong = problem(manifest, number)
    if wrong:
        own = number if manifest.batch == number else 0
        return Broken(name=name, why=wrong, number=own, claims=manifest.claims)
    return manifest


def with_broken_files(store: Store, manifests: Iterable[Manifest]) -> list[Broken]:
    """Those of `manifests` whose files are not what they say, each as a `Broken`."""
    found = ((item, wrong_files(store, item)) for item in manifests)
    return [broken(item, why) for item, why in found if why]


def broken(manifest: Manifest, why: str) -> Broken:
    """A batch that is broken although its manifest is sound."""
    return Broken(
        name=manifest_name(manifest.batch),
        why=why,
        number=manifest.batch,
        claims=manifest.claims,
    )


def wrong_files(store: Store, manifest: Manifest) -> str:
    """How the files of a batch differ from what its manifest says; empty if they do not.

    Costs one listing of the batch's folder. If the listing has no checksums, every file is read.
    """
    folder = f"{PARTS}{manifest.batch:08d}/"
    there = {item.name: item for item in store.list(folder)}
    names = {part.name for part in manifest.files}
    for part in manifest.files:
        item = there.get(part.name)
        if item is None:
            return f"{part.name} is gone"
        if item.size != part.size:
            return f"{part.name} has {item.size} bytes and should have {part.size}"
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


def _checksum(store: Store, name: str) -> str:
    """The checksum of an object, read piece by piece."""
    checksum = google_crc32c.Checksum()
    with store.local(name) as path:
        try:
            with path.open("rb") as file:
                for _ in checksum.consume(file, _CHUNK):
                    pass
        except OSError as error:
            raise StoreError(f"cannot read {store.uri(name)}: {error.strerror}") from error
    return checksum.digest().hex()
