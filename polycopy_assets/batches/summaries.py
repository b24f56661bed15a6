"""Summaries: what old manifests hold together, so that they need not be read again.

A summary counts only as long as the store lists exactly the manifests that it was made of. It can
be deleted at any time: then the manifests are read.
"""

import gzip
import logging
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from polycopy_assets.errors import ObjectExists, ObjectKept, ObjectLost
from polycopy_assets.store.base import Stored
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Header, current
from polycopy_assets.trades.digest import as_text
from polycopy_assets.trades.holdings import Held, Holdings
from polycopy_assets.trades.tiles import Tile

FORMAT = 1
"""The version of a summary's lines. A summary of another version is not used."""

_LOG = logging.getLogger(__name__)
_LEVEL = 3


class Summary(msgspec.Struct, frozen=True):
    """The batches up to number `last`, and what they hold."""

    last: int
    batches: list[Header]
    held: Holdings


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: `others` are the wallets that only batches with older columns name."""

    format: int
    schema: int
    last: int
    manifests: str
    rows: int
    wallets: int
    batches: list[Header]
    others: list[str]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """One wallet; a tile is [start, until, rows, digest or null, batch]."""

    wallet: str
    version: str
    batch: int
    tiles: list[tuple[int, int, int, str | None, int]]


class _Damaged(Exception):
    """A summary is not what it should be."""


_UNREADABLE = (_Damaged, OSError, EOFError, ValueError, zlib.error, struct.error)
"""What reading a damaged summary raises: msgspec's errors are ValueErrors, gzip's OSErrors."""


def newest(store: FeedStore, listed: Mapping[int, Stored]) -> Summary | None:
    """The newest summary of manifests that are still `listed`, by their numbers; None without one.

    A damaged one is passed over. Raises StoreError if the store cannot be read.
    """
    for name, last in sorted(_summaries(store), reverse=True):
        manifests = manifests_digest(listed, last)
        if name != store.names.summary(last, manifests):
            _LOG.info("%s is not used: its manifests are not those in the store", store.uri(name))
            continue
        try:
            return _read(store, name, last, manifests)
        except ObjectLost:
            continue
        except _UNREADABLE as error:
            _LOG.warning("%s is damaged, and not used: %s", store.uri(name), error)
    return None


def write(
    store: FeedStore, listed: Mapping[int, Stored], batches: list[Header], held: Holdings
) -> str:
    """Writes the summary of all `listed` manifests, and deletes the others; returns its name."""
    last, schema = max(listed), store.feed.schema
    manifests = manifests_digest(listed, last)
    name = store.names.summary(last, manifests)
    head = _Head(
        format=FORMAT,
        schema=schema,
        last=last,
        manifests=manifests,
        rows=sum(item.rows for item in current(batches, schema)),
        wallets=len(held),
        batches=batches,
        others=sorted(held.others),
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "summary"
        with (
            path.open("wb") as raw,
            gzip.GzipFile("", "wb", compresslevel=_LEVEL, fileobj=raw, mtime=0) as file,
        ):
            file.write(msgspec.json.encode(head) + b"\n")
            for line in _lines(held):
                file.write(msgspec.json.encode(line) + b"\n")
        try:
            store.create_from(name, path)
        except ObjectExists:  # a damaged one, or of another version of gzip
            store.delete(name)
            store.create_from(name, path)
    for other, _ in _summaries(store):
        if other != name:
            try:
                store.delete(other)
            except ObjectKept as error:
                _LOG.info("an old summary stays: %s", error)
    return name


def manifests_digest(listed: Mapping[int, Stored], last: int) -> str:
    """Names the manifests up to number `last`: their names, sizes, and checksums where listed."""
    lines = (
        f"{item.name} {item.size} {item.crc32c or '-'}"
        for number, item in sorted(listed.items())
        if number <= last
    )
    return sha256("\n".join(lines).encode()).hexdigest()


def _summaries(store: FeedStore) -> list[tuple[str, int]]:
    parse = store.names.parse_summary
    found = ((item.name, parse(item.name)) for item in store.list(store.names.summaries))
    return [(name, last) for name, last in found if last is not None]


def _lines(held: Holdings) -> Iterator[_Line]:
    for wallet, item in sorted(held, key=lambda each: each[0]):
        yield _Line(
            wallet=wallet,
            version=item.version,
            batch=item.batch,
            tiles=[
                (t.start, t.until, t.rows, None if t.digest is None else as_text(t.digest), t.batch)
                for t in item.tiles
            ],
        )


def _read(store: FeedStore, name: str, last: int, manifests: str) -> Summary | None:
    with store.local(name) as path, gzip.open(path, "rb") as file:
        lines = iter(file)
        head = msgspec.json.decode(next(lines, b""), type=_Head)
        if head.format != FORMAT or head.schema != store.feed.schema:
            _LOG.info("%s is not used: it is of another version", store.uri(name))
            return None
        if (head.last, head.manifests) != (last, manifests):
            raise _Damaged("it is of other manifests")
        held = dict(_wallets(lines))
    if len(held) != head.wallets:
        raise _Damaged(f"it has {counted(len(held), 'wallet')} and should have {head.wallets}")
    return Summary(
        last=head.last, batches=head.batches, held=Holdings(head.schema, held, head.others)
    )


def _wallets(lines: Iterable[bytes]) -> Iterator[tuple[str, Held]]:
    decoder = msgspec.json.Decoder(_Line)
    for data in lines:
        line = decoder.decode(data)
        tiles = [
            Tile(start, until, rows, None if digest is None else int(digest, 16), batch)
            for start, until, rows, digest, batch in line.tiles
        ]
        yield line.wallet, Held.of(line.version, line.batch, tiles)
