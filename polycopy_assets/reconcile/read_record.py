"""The record as a ledger: what it says of each wallet."""

from collections.abc import Iterable

from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.ledger.facts import Recorded, StoredSegment
from polycopy_assets.ledger.findings import lost_segments
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.store.coverage import Coverage
from polycopy_assets.store.feed_store import FeedStore


def read_record(record: FeedRecord, progress: Progress) -> dict[str, Recorded]:
    """What the latest record of each wallet says, or why it cannot be read."""
    versions = record.versions()
    progress.begin("reading the record", len(versions))
    found: dict[str, Recorded] = {}
    for wallet, item in record.read():
        progress.step.done += 1
        if isinstance(item, PolycopyError):
            found[wallet] = Recorded(
                version=versions.get(wallet, ""),
                rows=0,
                segments=(),
                covered_until=0,
                problem=str(item),
            )
        else:
            found[wallet] = as_recorded(item)
    return found


def read_replaced_again(
    record: FeedRecord,
    store: FeedStore,
    recorded: dict[str, Recorded],
    stored: dict[str, list[StoredSegment]],
    unread: dict[str, dict[str, str]],
) -> None:
    """Reads the wallets again whose segments a fetch has replaced or united in the meantime.

    Otherwise they would seem to have lost the old ones.
    """
    for wallet, item in recorded.items():
        if not unread.get(wallet) and not lost_segments(item, stored.get(wallet, ())):
            continue
        now = record.latest_or_none(wallet)
        if now is not None and now.segments != item.segments:
            recorded[wallet] = as_recorded(now)
            there = store.list(store.names.wallet(wallet))
            listed = (StoredSegment.listed(store.names, *found) for found in there)
            stored[wallet] = [found[1] for found in listed if found]
            unread.pop(wallet, None)


def latest_horizon(recorded: Iterable[Recorded], coverage: Coverage, now: int) -> int:
    """Until when coverage with its own horizon can be trusted: the source's latest horizon."""
    told = [(item.horizon.at, item.horizon.until) for item in recorded if item.horizon is not None]
    stated = coverage.latest
    if stated:
        told.append((stated.at, stated.until))
    return max(told)[1] if told else now


def as_recorded(item: Record) -> Recorded:
    """What a record says, for the comparison with other ledgers."""
    return Recorded(
        version=item.version,
        rows=sum(segment.rows for segment in item.segments),
        segments=item.segments,
        covered_until=item.covered_until,
        newer=item.newer,
        horizon=item.horizon,
    )
