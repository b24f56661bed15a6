"""The audit: compares the store's listing with the record, and reads a share of the store again.

It costs one listing and takes no lock: a fetch can go on meanwhile. Every recorded segment is read
again once in `AUDIT_ROUND_DAYS`, unless the listing has checksums, which show every change. Missed
days are caught up on: the instance keeps the day of the latest audit that ended. All manifests are
read, because loads use a summary of the old ones.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import dagster as dg
import msgspec

from polycopy_assets.batches.manifests import broken_manifests
from polycopy_assets.errors import ObjectLost, ObjectUnreadable
from polycopy_assets.feeds.base import Feed
from polycopy_assets.ledger.facts import Recorded
from polycopy_assets.ledger.findings import lost_coverage, lost_segments
from polycopy_assets.record import refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.store.base import Stored, crc32c
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.reading import Readings
from polycopy_assets.trades.interval import Interval, leading
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.segment import Segment, StoredSegment

AUDIT_ROUND_DAYS = 28
"""Days within which every segment is read once, however many audits there are."""

_DAY = "audited_day"
_LOST = "audit_lost"
_EVERY = frozenset(range(AUDIT_ROUND_DAYS))
_WALLETS = 2_000
_READERS = 8
_LOG = logging.getLogger(__name__)


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """How many wallets and segments were compared, how many segments read, and what is lost.

    `lost` says, for each wallet with a loss, what it has lost, `refetches` how many full refetches
    have not ended, `left_out` names things in the store that are not objects. `broken` says which
    batches have a manifest that cannot be used, and why.
    """

    wallets: int
    segments: int
    read: int
    lost: Mapping[str, str]
    refetches: int
    left_out: Sequence[str]
    broken: Mapping[str, str]


def audit(
    instance: dg.DagsterInstance,
    store: FeedStore,
    day: int,
    check: Callable[[], None] = lambda: None,
) -> Audit:
    """Compares every recorded segment with the listing, and reads those that are due by `day`.

    Changes nothing in the store. A full refetch with a marker but no note is noted, so that the
    next backfill continues it. Raises StoreError if the store cannot be listed, or if too many
    segments in a row cannot be read: then nothing counts as read. `check` is called before each
    wallet, and may raise.
    """
    record = FeedRecord(instance, store.feed)
    wallets = sorted(record.versions())
    shares, suspects = due(_audited(record), day), suspected(record)
    without_trades = read_coverage(store)
    readings = Readings(store)
    segments = read = 0
    lost: dict[str, str] = {}
    with ThreadPoolExecutor(_READERS, thread_name_prefix="audit") as readers:
        for (wallet, found), listed in _with_listing(_records(record, wallets), store):
            check()
            if not isinstance(found, Record):
                lost[wallet] = str(found)
                continue
            segments += len(found.segments)
            wanted = _EVERY if wallet in suspects else shares
            to_read = _to_read(found.segments, listed, wanted)
            read += len(to_read)
            covered = without_trades.of(wallet)
            if any(readers.map(_changed(readings), to_read)) or _lost(
                store.feed, found, listed, covered
            ):
                lost |= _still(record, store, found, wanted)
            if any(item.name == store.names.marker(wallet) for item in listed):
                _note(record, store, wallet)
    left_out = [f"{name}, {what}" for name, what in store.left_out(store.names.segments)]
    for each in left_out:
        _LOG.warning("left out of the store: %s", each)
    broken: dict[str, str] = {}
    for item in broken_manifests(store):
        check()
        broken[item.name] = item.why
    record.set_notes({_DAY: str(day), _LOST: msgspec.json.encode(sorted(lost)).decode()})
    return Audit(
        wallets=len(wallets),
        segments=segments,
        read=read,
        lost=lost,
        refetches=len(refetching.unfinished(record)),
        left_out=left_out,
        broken=broken,
    )


def suspected(record: FeedRecord) -> frozenset[str]:
    """The wallets for which the latest audit found a loss.

    The next day's share would not show a loss that only reading shows: these wallets are read in
    full until they are in order, by the next audit and by a reconciliation.
    """
    text = record.note(_LOST)
    return frozenset(msgspec.json.decode(text, type=list[str])) if text else frozenset()


def share(name: str) -> int:
    """Which of the `AUDIT_ROUND_DAYS` shares holds the segment `name`; each day one is due."""
    return -int(crc32c(name.encode()), 16) % AUDIT_ROUND_DAYS


def due(audited: int | None, day: int) -> frozenset[int]:
    """The shares to be read on `day` (days since 1970): what became due after day `audited`.

    The share of `day` itself is always due, even if it was read today; on the first audit, only it.
    All are due if a round has passed, or if `audited` is in the future and so means nothing.
    """
    if audited is None:
        return frozenset({day % AUDIT_ROUND_DAYS})
    if audited > day or day - audited >= AUDIT_ROUND_DAYS:
        return _EVERY
    return frozenset(each % AUDIT_ROUND_DAYS for each in range(min(audited + 1, day), day + 1))


def _audited(record: FeedRecord) -> int | None:
    """The day of the latest audit that ended; None before the first."""
    text = record.note(_DAY)
    return int(text) if text.isdecimal() else None


Found = tuple[str, Record | Exception]


def _records(record: FeedRecord, wallets: Sequence[str]) -> Iterator[Found]:
    """The record of each of `wallets`, in their order, or what is wrong with it."""
    for start in range(0, len(wallets), _WALLETS):
        chunk = wallets[start : start + _WALLETS]
        yield from sorted(record.read(chunk), key=lambda item: item[0])


def _with_listing(
    records: Iterator[Found], store: FeedStore
) -> Iterator[tuple[Found, list[Stored]]]:
    """Each record with its wallet's listing: both are sorted, and neither is kept in full."""
    names = store.names
    ours = (item for item in store.list(names.segments) if _wallet(names, item.name))
    folders = groupby(ours, key=lambda item: _wallet(names, item.name))
    folder, items = next(folders, (None, iter(())))
    for found in records:
        while folder is not None and folder < found[0]:
            folder, items = next(folders, (None, iter(())))
        yield found, list(items) if folder == found[0] else []


def _wallet(names: Names, name: str) -> str | None:
    """The wallet whose segment or marker has this name; None for foreign objects."""
    named = names.parse_segment(name)
    return named[0] if named else names.parse_marker(name)


def _lost(
    feed: Feed, found: Record, listed: Sequence[Stored], covered: Interval | None
) -> dict[str, str]:
    """What the record says that the store has not; `covered` is what a coverage object states."""
    recorded = Recorded(rows=0, segments=found.segments, covered_until=found.covered_until)
    names = feed.names
    every = (StoredSegment.listed(names, *item) for item in listed)
    stored = [each[1] for each in every if each]
    spans = [item.span for item in stored]
    kept = leading([*spans, covered] if covered else spans)
    lost = lost_segments(recorded, stored)
    gone = "" if lost else lost_coverage(recorded, kept, feed.rows)
    return lost or ({names.coverage: gone} if gone else {})


def _to_read(
    segments: Sequence[Segment], listed: Sequence[Stored], shares: AbstractSet[int]
) -> list[Segment]:
    """The segments that are due and have no checksum in the listing."""
    unknown = {item.name for item in listed if item.crc32c is None}
    return [item for item in segments if item.name in unknown and share(item.name) in shares]


def _changed(readings: Readings) -> Callable[[Segment], str]:
    """A function that reads a segment and says what is wrong with it; empty if nothing is."""

    def read(segment: Segment) -> str:
        try:
            found = crc32c(readings.read(segment.name))
        except ObjectLost:
            return "is gone"
        except ObjectUnreadable as error:
            return error.why
        return "" if found == segment.crc32c else "has a different checksum than its record says"

    return read


def _still(
    record: FeedRecord, store: FeedStore, found: Record, shares: AbstractSet[int]
) -> dict[str, str]:
    """What a wallet has lost, checked once more; nothing if it was recorded again meanwhile."""
    listed = list(store.list(store.names.wallet(found.wallet)))
    to_read = _to_read(found.segments, listed, shares)
    changed = _changed(Readings(store))
    lost = {item.name: why for item in to_read if (why := changed(item))}
    covered = read_coverage(store).of(found.wallet)
    lost |= _lost(store.feed, found, listed, covered)  # more specific than a different checksum
    now = record.latest_or_none(found.wallet)
    changed = now is None or (now.segments, now.covered_until) != (
        found.segments,
        found.covered_until,
    )
    if not lost or changed:
        return {}
    return {found.wallet: "; ".join(f"{name} {why}" for name, why in lost.items())}


def _note(record: FeedRecord, store: FeedStore, wallet: str) -> None:
    """Notes a full refetch whose note is lost, if it has not ended since."""
    if wallet in refetching.unfinished(record):
        return
    try:
        store.read(store.names.marker(wallet))
    except ObjectLost:
        return
    refetching.note_marked(record, [wallet])
