"""Snapshots of a feed's record, in the store: for an instance that lasts as long as one command.

A snapshot says what the record said at the end of a command, as gzip JSON lines: a header, and a
line for each wallet. It is created once and never changed; the newest one counts, and a few older
ones are kept. It saves work and keeps what segments cannot say (attempts, counts, horizons). What
is complete and what is covered is decided by comparing it with the segments that are there.
"""

import gzip
import logging
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import dagster as dg
import msgspec

from polycopy_assets.errors import (
    ObjectKept,
    ObjectLost,
    PolycopyError,
    StoreError,
    no_number_left,
)
from polycopy_assets.feeds.base import Feed
from polycopy_assets.ledger.source_counts import count_version
from polycopy_assets.record import attempts, counts, loads, materializations, refetching
from polycopy_assets.record.attempts import Attempt
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import DATA_VERSION_TAG, Metadata, Record
from polycopy_assets.record.partitions import registered_at
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.system.version import VERSION
from polycopy_assets.text import counted, quoted
from polycopy_assets.trades.wallet import ADDRESS

FORM = 1
KEPT = 3
"""Snapshots that are kept, with the newest."""

_LAST = 99_999_999
_READ_AGAIN = 5
_LOG = logging.getLogger(__name__)


class _Kind(NamedTuple):
    found: type
    made: Callable[[Any], dg.MetadataValue]
    plain: tuple[type, ...]  # of its value


_KINDS: Mapping[str, _Kind] = {
    "int": _Kind(dg.IntMetadataValue, dg.MetadataValue.int, (int,)),
    "json": _Kind(dg.JsonMetadataValue, dg.MetadataValue.json, (dict, list)),
    "text": _Kind(dg.TextMetadataValue, dg.MetadataValue.text, (str,)),
    "time": _Kind(dg.TimestampMetadataValue, dg.MetadataValue.timestamp, (float,)),
}


class Load(msgspec.Struct, frozen=True, array_like=True):
    """The latest materialization of an asset that combines or loads: version, state of the record.

    `record` is empty if it does not say which state that was.
    """

    asset: str
    version: str
    record: str = ""


class _Form(msgspec.Struct, frozen=True):
    """What every version's header has."""

    form: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is not said of a wallet."""

    form: int
    wallets: int
    polycopy: str = VERSION
    loads: list[Load] = []
    refetching: dict[str, str] = {}


class Line(msgspec.Struct, frozen=True, array_like=True):
    """What is said of a wallet.

    When it was registered (epoch seconds, None if it is not); its record: the data version, and the
    metadata as kind and value by name; the time until which a revoked record covered it; its latest
    attempt if that failed; the data version of its latest count, and why a later one failed.
    """

    wallet: str
    registered: float | None = None
    version: str = ""
    metadata: dict[str, tuple[str, Any]] = {}
    revoked: int | None = None
    attempt: Attempt | None = None
    count: str = ""
    not_counted: str = ""

    def record(self, feed: Feed) -> Record | None:
        """The wallet's record of `feed`, if any; raises PolycopyError if it is not a whole one."""
        if not self.version:
            return None
        event = materializations.materialization(feed, self.wallet, self.version, self.values())
        return materializations.read(feed, self.wallet, "", event)

    def values(self) -> Metadata:
        """The metadata as Dagster has them."""
        return {name: _KINDS[kind].made(value) for name, (kind, value) in self.metadata.items()}


class State(msgspec.Struct, frozen=True):
    """What a snapshot says; `lines` by wallet."""

    header: Header
    lines: Mapping[str, Line]


NOTHING = State(Header(form=FORM, wallets=0), {})


class Found(NamedTuple):
    """A snapshot in the store: its name, what it says, and the records of its lines by wallet."""

    name: str
    state: State
    records: Mapping[str, Record]


class Damaged(PolycopyError):
    """An object is not a snapshot that this version has written."""


def take(
    record: FeedRecord,
    before: State = NOTHING,
    written: Mapping[str, int] = MappingProxyType({}),
) -> State:
    """What the record says now.

    `written` are, by wallet, the ids of the events that wrote lines of `before` into this instance:
    a line whose event is still the wallet's latest is not read again.
    """
    latest = record.latest_ids() if written else {}
    same = {wallet for wallet, number in written.items() if latest.get(wallet) == number}
    known = registered_at(record.instance)
    revoked = record.revoked()
    tried = attempts.latest(record, known.keys())
    counted = {wallet: count_version(each) for wallet, each in counts.latest(record).items()}
    failed = counts.failures(record)
    versions = record.versions()
    records = {wallet: (line.version, line.metadata) for wallet, line in _chosen(before, same)}
    for wallet, found in record.read(versions.keys() - same):
        if isinstance(found, Record):  # what cannot be read is rebuilt from the store
            records[wallet] = found.version, _plain(found.metadata)
    lines = {
        wallet: Line(
            wallet,
            known.get(wallet),
            *records.get(wallet, ("", {})),
            revoked.get(wallet),
            tried.get(wallet),
            counted.get(wallet, ""),
            failed.get(wallet, ""),
        )
        for wallet in sorted({*known, *records, *revoked, *counted, *failed})
        if ADDRESS.fullmatch(wallet)
    }
    header = Header(
        form=FORM,
        wallets=len(lines),
        loads=list(_loads(record)),
        refetching={w: str(s) for w, s in sorted(refetching.unfinished(record).items())},
    )
    return State(header, lines)


def _chosen(state: State, wallets: Collection[str]) -> Iterator[tuple[str, Line]]:
    return ((wallet, state.lines[wallet]) for wallet in wallets)


def write(store: FeedStore, state: State) -> str:
    """Creates a snapshot, and deletes old ones; returns its name.

    Raises StoreError, also if no number is left.
    For the process that holds the lock on the record.
    """
    encoder = msgspec.json.Encoder()
    data = gzip.compress(
        encoder.encode_lines([state.header, *state.lines.values()]), compresslevel=6, mtime=0
    )
    before = _listed(store)
    number = max((each for each, _ in before), default=0) + 1
    if number > _LAST:
        raise no_number_left(store.uri(store.names.snapshots))
    name = store.names.snapshot(number, uuid.uuid4().hex)
    store.create(name, data, {"wallets": str(state.header.wallets)})
    try:
        for _, old in before[: 1 - KEPT]:
            store.delete(old)
    except ObjectKept as error:
        _LOG.info("old snapshots of the record stay: %s", error)
    return name


def newest(store: FeedStore, say: Callable[[str], None], *, change: bool) -> Found:
    """The newest snapshot that can be used; its name is empty if there is none.

    `say` gets a line for each damaged one; with `change`, it is set aside. Raises StoreError, and
    PolycopyError if a newer version wrote it.
    """
    for _ in range(_READ_AGAIN):
        try:
            return _newest(store, say, change=change)
        except ObjectLost:
            continue  # another process has written one, and deleted this one
    return _newest(store, say, change=change)


def _newest(store: FeedStore, say: Callable[[str], None], *, change: bool) -> Found:
    for _, name in reversed(_listed(store)):
        try:
            return decode(store.feed, name, store.read(name))
        except Damaged as error:
            say(f"the snapshot {store.uri(name)} {error}; the record is rebuilt from the store")
            if change:
                set_aside(store, name)
    return Found("", NOTHING, {})


def decode(feed: Feed, name: str, data: bytes) -> Found:
    """The snapshot of the record of `feed` in an object; raises Damaged if it is none."""
    try:
        first, *rest = gzip.decompress(data).splitlines()
        # By itself: the rest of a newer version's header may be anything.
        if (form := msgspec.json.decode(first, type=_Form).form) > FORM:
            raise StoreError(
                f"{name} was written by a newer version of polycopy (form {form}): use the newer"
                " version"
            )
        header = msgspec.json.decode(first, type=Header)
        decoder = msgspec.json.Decoder(Line)
        lines = {line.wallet: line for line in map(decoder.decode, rest)}
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise Damaged(f"is damaged: {error or 'it is empty'}") from error
    if len(lines) != header.wallets or len(rest) != header.wallets:
        raise Damaged(
            f"is damaged: {counted(len(lines), 'wallet')} in {counted(len(rest), 'line')}, not"
            f" {header.wallets}"
        )
    found = ((wallet, _record(feed, line)) for wallet, line in lines.items())
    records = {wallet: record for wallet, record in found if record is not None}
    return Found(name, State(header, lines), records)


def _record(feed: Feed, line: Line) -> Record | None:
    """The record of a line, if it has one; raises Damaged if the line is not a sound one."""
    if not ADDRESS.fullmatch(line.wallet) or not all(map(_is_plain, line.metadata.values())):
        raise Damaged(f"is damaged: {quoted(line.wallet)}")
    try:
        return line.record(feed)
    except (PolycopyError, dg.DagsterError, TypeError, ValueError) as error:
        raise Damaged(f"is damaged: {line.wallet}") from error


def _is_plain(item: tuple[str, Any]) -> bool:
    """Whether kind and value are such that Dagster makes metadata of them."""
    kind, value = item
    return kind in _KINDS and type(value) in _KINDS[kind].plain  # a bool is no int


def _listed(store: FeedStore) -> list[tuple[int, str]]:
    """The snapshots by number, oldest first."""
    names = store.names
    found = ((names.parse_snapshot(item.name), item.name) for item in store.list(names.snapshots))
    return sorted((number, name) for number, name in found if number is not None)


def _plain(metadata: Metadata) -> dict[str, tuple[str, Any]]:
    """The metadata as kinds and plain values; those of other kinds are only for people."""
    return {
        name: (kind, getattr(value, "data" if kind == "json" else "value"))
        for name, value in metadata.items()
        for kind, known in _KINDS.items()
        if isinstance(value, known.found)
    }


def _loads(record: FeedRecord) -> Iterator[Load]:
    for key in (record.keys.combined, record.keys.table):
        event = record.instance.get_latest_materialization_event(key)
        found = event.asset_materialization if event else None
        if found is not None:
            state = found.metadata.get(loads.RECORD)
            version = (found.tags or {}).get(DATA_VERSION_TAG, "")
            yield Load(key.to_user_string(), version, str(state.value) if state else "")
