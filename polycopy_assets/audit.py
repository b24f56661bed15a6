"""The audit: the store's listing compared with the record, and a share of the store read again.

It costs one listing and takes no lock: a fetch goes on beside it. Every recorded segment is read
again once in `ROUND_DAYS`, unless the listing tells checksums: there it shows every change itself.
Days without an audit are caught up with: the instance keeps the day of the latest one that ended.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import dagster as dg
import msgspec

from polycopy_assets import record, refetching
from polycopy_assets.errors import ObjectLost, ObjectUnreadable
from polycopy_assets.fetch.refetch import marker_name, parse_marker_name
from polycopy_assets.ledger.facts import Recorded, StoredSegment
from polycopy_assets.ledger.findings import lost_segments
from polycopy_assets.record import Record
from polycopy_assets.store.base import Store, Stored, crc32c
from polycopy_assets.store.reading import Readings
from polycopy_assets.trades.segment import PREFIX, Segment, parse_name, wallet_prefix

ROUND_DAYS = 28
"""In so many days every segment is read once, however many audits there are in them."""

_KEY = "polycopy/audited_day"
_LOST_KEY = "polycopy/audit_lost"
_EVERY = frozenset(range(ROUND_DAYS))
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
    """Compares every recorded segment with the listing, and reads those that are due by `day`.

    Changes nothing in the store. A full refetch whose marker is there without a note is noted, so
    that the next backfill goes on with it. Raises StoreError if the store cannot be listed, or if
    too many segments in a row cannot be read: then nothing counts as read.
    """
    wallets = sorted(record.versions(instance))
    shares, suspects = due(_audited(instance), day), suspected(instance)
    readings = Readings(store)
    segments = read = 0
    lost: dict[str, str] = {}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="audit") as readers:
        for (wallet, found), listed in _with_listing(_records(instance, wallets), store):
            if not isinstance(found, Record):
                lost[wallet] = str(found)
                continue
            segments += len(found.segments)
            wanted = _EVERY if wallet in suspects else shares
            to_read = _to_read(found.segments, listed, wanted)
            read += len(to_read)
            if any(readers.map(_changed(readings), to_read)) or _lost(found, listed):
                lost |= _still(instance, store, found, wanted)
            if any(item.name == marker_name(wallet) for item in listed):
                _note(instance, store, wallet)
    left_out = [f"{name}, {what}" for name, what in store.left_out(PREFIX)]
    for each in left_out:
        _LOG.warning("left out of the store: %s", each)
    instance.daemon_cursor_storage.set_cursor_values(
        {_KEY: str(day), _LOST_KEY: msgspec.json.encode(sorted(lost)).decode()}
    )
    return Audit(
        wallets=len(wallets),
        segments=segments,
        read=read,
        lost=lost,
        refetches=len(refetching.unfinished(instance)),
        left_out=left_out,
    )


def suspected(instance: dg.DagsterInstance) -> frozenset[str]:
    """The wallets of which the latest audit found something lost.

    Of what only reading shows, the next day's share would not tell: these are read whole until they
    are in order, by the next audit and by a reconciliation.
    """
    text = instance.daemon_cursor_storage.get_cursor_values({_LOST_KEY}).get(_LOST_KEY)
    return frozenset(msgspec.json.decode(text, type=list[str])) if text else frozenset()


def share(name: str) -> int:
    """In which of the `ROUND_DAYS` shares the segment `name` is; each day one of them is due."""
    return -int(crc32c(name.encode()), 16) % ROUND_DAYS


def due(audited: int | None, day: int) -> frozenset[int]:
    """The shares to be read on `day` (days since 1970): what became due after day `audited`.

    That of `day` itself always, also if it was read today. The first time it is that alone; all, if
    a round has passed, or if `audited` lies in the future and so tells nothing.
    """
    if audited is None:
        return frozenset({day % ROUND_DAYS})
    if audited > day or day - audited >= ROUND_DAYS:
        return _EVERY
    return frozenset(each % ROUND_DAYS for each in range(min(audited + 1, day), day + 1))


def _audited(instance: dg.DagsterInstance) -> int | None:
    """The day of the latest audit that ended; None before the first."""
    text = instance.daemon_cursor_storage.get_cursor_values({_KEY}).get(_KEY)
    return int(text) if text and text.isdecimal() else None


Found = tuple[str, Record | Exception]


def _records(instance: dg.DagsterInstance, wallets: Sequence[str]) -> Iterator[Found]:
    """The record of each of `wallets`, sorted as they are, or what is wrong with it."""
    for start in range(0, len(wallets), _WALLETS):
        chunk = wallets[start : start + _WALLETS]
        yield from sorted(record.read_all(instance, chunk), key=lambda item: item[0])


def _with_listing(records: Iterator[Found], store: Store) -> Iterator[tuple[Found, list[Stored]]]:
    """Each record with what is listed of its wallet: both are sorted, and neither is kept whole."""
    ours = (item for item in store.list(PREFIX) if _wallet(item.name))
    folders = groupby(ours, key=lambda item: _wallet(item.name))
    folder, items = next(folders, (None, iter(())))
    for found in records:
        while folder is not None and folder < found[0]:
            folder, items = next(folders, (None, iter(())))
        yield found, list(items) if folder == found[0] else []


def _wallet(name: str) -> str | None:
    """The wallet whose segment or marker an object's name is; None for what others put there."""
    named = parse_name(name)
    return named[0] if named else parse_marker_name(name)


def _lost(found: Record, listed: Sequence[Stored]) -> dict[str, str]:
    recorded = Recorded(rows=0, segments=found.segments, covered_until=found.covered_until)
    stored = [
        StoredSegment(span=named[1], size=item.size, crc32c=item.crc32c)
        for item in listed
        if (named := parse_name(item.name))
    ]
    return lost_segments(recorded, stored)


def _to_read(
    segments: Sequence[Segment], listed: Sequence[Stored], shares: AbstractSet[int]
) -> list[Segment]:
    """The segments that are due, where the listing tells no checksum."""
    unknown = {item.name for item in listed if item.crc32c is None}
    return [item for item in segments if item.name in unknown and share(item.name) in shares]


def _changed(readings: Readings) -> Callable[[Segment], str]:
    """What is wrong with a segment that is read; nothing, mostly."""

    def read(segment: Segment) -> str:
        try:
            found = crc32c(readings.read(segment.name))
        except ObjectLost:
            return "is gone"
        except ObjectUnreadable as error:
            return str(error).removeprefix(segment.name).strip()
        return "" if found == segment.crc32c else "has another checksum than its record says"

    return read


def _still(
    instance: dg.DagsterInstance, store: Store, found: Record, shares: AbstractSet[int]
) -> dict[str, str]:
    """What a wallet has lost, looked at once more; nothing if it was recorded anew meanwhile."""
    listed = list(store.list(wallet_prefix(found.wallet)))
    to_read = _to_read(found.segments, listed, shares)
    changed = _changed(Readings(store))
    lost = {item.name: why for item in to_read if (why := changed(item))}
    lost |= _lost(found, listed)  # it says more than that the checksum is another
    now = record.record_or_none(instance, found.wallet)
    if not lost or now is None or now.segments != found.segments:
        return {}
    return {found.wallet: "; ".join(f"{name} {why}" for name, why in lost.items())}


def _note(instance: dg.DagsterInstance, store: Store, wallet: str) -> None:
    """Notes a full refetch whose note is lost, if it has not ended since."""
    if wallet in refetching.unfinished(instance):
        return
    try:
        store.read(marker_name(wallet))
    except ObjectLost:
        return
    refetching.note(instance, wallet, refetching.MARKED)
