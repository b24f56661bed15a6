"""The audit: the store's listing compared with the record, and a share of the store read again.

It costs one listing and takes no lock: a fetch goes on beside it. Every recorded segment is read
again once in `ROUND_DAYS`, unless the listing tells checksums: there it shows every change itself.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import dagster as dg
import msgspec

from polycopy_assets import record, refetching
from polycopy_assets.errors import ObjectLost
from polycopy_assets.fetch.refetch import marker_name
from polycopy_assets.ledger.facts import Recorded, StoredSegment
from polycopy_assets.ledger.findings import lost_segments
from polycopy_assets.record import Record
from polycopy_assets.store.base import Store, Stored, crc32c
from polycopy_assets.trades.segment import PREFIX, Segment, parse_name, wallet_prefix

ROUND_DAYS = 28
"""In so many daily audits every segment is read once."""

_WALLETS = 2_000
_READERS = 8
_LOG = logging.getLogger(__name__)


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """How many wallets and segments were compared, how many segments read, and what is lost.

    `lost` tells of each wallet that has lost something what it is, `refetches` how many full
    refetches have not ended, `left_out` what lies in the store and is no object.
    """

    wallets: int
    segments: int
    read: int
    lost: Mapping[str, str]
    refetches: int
    left_out: Sequence[str]


def audit(instance: dg.DagsterInstance, store: Store, day: int) -> Audit:
    """Compares every recorded segment with the listing, and reads those that are due on `day`.

    Changes nothing in the store. A full refetch whose marker is there without a note is noted, so
    that the next backfill goes on with it. Raises StoreError if the store cannot be read.
    """
    wallets = sorted(record.versions(instance))
    segments = read = 0
    lost: dict[str, str] = {}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="audit") as readers:
        for (wallet, found), listed in _with_listing(_records(instance, wallets), store):
            if not isinstance(found, Record):
                lost[wallet] = str(found)
                continue
            segments += len(found.segments)
            to_read = _to_read(found.segments, listed, day)
            read += len(to_read)
            changed = [segment for segment in readers.map(_changed(store), to_read) if segment]
            if (changed or _lost(found, listed)) and (why := _still(instance, store, found, day)):
                lost[wallet] = why
            if any(item.name == marker_name(wallet) for item in listed):
                _note(instance, store, wallet)
    left_out = [f"{name}, {what}" for name, what in store.left_out(PREFIX)]
    for each in left_out:
        _LOG.warning("left out of the store: %s", each)
    return Audit(
        wallets=len(wallets),
        segments=segments,
        read=read,
        lost=lost,
        refetches=len(refetching.unfinished(instance)),
        left_out=left_out,
    )


def due(name: str, day: int) -> bool:
    """Whether the segment `name` is read again on `day` (days since 1970)."""
    return (int(crc32c(name.encode()), 16) + day) % ROUND_DAYS == 0


Found = tuple[str, Record | Exception]


def _records(instance: dg.DagsterInstance, wallets: Sequence[str]) -> Iterator[Found]:
    """The record of each of `wallets`, sorted as they are, or what is wrong with it."""
    for start in range(0, len(wallets), _WALLETS):
        chunk = wallets[start : start + _WALLETS]
        yield from sorted(record.read_all(instance, chunk), key=lambda item: item[0])


def _with_listing(records: Iterator[Found], store: Store) -> Iterator[tuple[Found, list[Stored]]]:
    """Each record with what is listed of its wallet: both are sorted, and neither is kept whole."""
    folders = groupby(store.list(PREFIX), key=lambda item: item.name.split("/")[1])
    folder, items = next(folders, ("", iter(())))
    for found in records:
        while folder and folder < found[0]:
            folder, items = next(folders, ("", iter(())))
        yield found, list(items) if folder == found[0] else []


def _lost(found: Record, listed: Sequence[Stored]) -> dict[str, str]:
    recorded = Recorded(rows=0, segments=found.segments, covered_until=found.covered_until)
    stored = [
        StoredSegment(span=named[1], size=item.size, crc32c=item.crc32c)
        for item in listed
        if (named := parse_name(item.name))
    ]
    return lost_segments(recorded, stored)


def _to_read(segments: Sequence[Segment], listed: Sequence[Stored], day: int) -> list[Segment]:
    """The segments that are due, where the listing tells no checksum."""
    unknown = {item.name for item in listed if item.crc32c is None}
    return [item for item in segments if item.name in unknown and due(item.name, day)]


def _changed(store: Store) -> Callable[[Segment], Segment | None]:
    def read(segment: Segment) -> Segment | None:
        try:
            return None if crc32c(store.read(segment.name)) == segment.crc32c else segment
        except ObjectLost:
            return segment

    return read


def _still(instance: dg.DagsterInstance, store: Store, found: Record, day: int) -> str:
    """What is lost of a wallet, looked at once more; nothing if it was recorded anew meanwhile."""
    listed = list(store.list(wallet_prefix(found.wallet)))
    lost = _lost(found, listed)
    changed = [item for item in map(_changed(store), _to_read(found.segments, listed, day)) if item]
    lost |= {item.name: "has another checksum than its record says" for item in changed}
    now = record.record_or_none(instance, found.wallet)
    if now is None or now.segments != found.segments:
        return ""
    return "; ".join(f"{name} {why}" for name, why in lost.items())


def _note(instance: dg.DagsterInstance, store: Store, wallet: str) -> None:
    """Notes a full refetch whose note is lost, if it has not ended since."""
    if wallet in refetching.unfinished(instance):
        return
    try:
        store.read(marker_name(wallet))
    except ObjectLost:
        return
    refetching.note(instance, wallet, refetching.MARKED)
