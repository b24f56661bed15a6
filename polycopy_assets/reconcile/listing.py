"""The store as a ledger: listed once and, to verify it, read in full."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from polycopy_assets.errors import ObjectDamaged, ObjectLost, ObjectUnreadable
from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.ledger.facts import OldFile, Recorded, whole_until
from polycopy_assets.migration.old_job import parse_old_name
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.coverage import Coverage
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.reading import Readings
from polycopy_assets.trades.interval import BEGINNING, Interval
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.segment import StoredSegment

_READERS = 8


class Refused(msgspec.Struct, frozen=True):
    """Something in a ledger that names no wallet; it is left alone."""

    ledger: str
    text: str


def list_store(
    store: FeedStore, refused: list[Refused], progress: Progress
) -> tuple[dict[str, list[StoredSegment]], dict[str, list[OldFile]], list[str]]:
    """Segments and old files of each wallet, and the wallets with a full refetch under way."""
    progress.begin("listing the store")
    segments: dict[str, list[StoredSegment]] = defaultdict(list)
    old_files: dict[str, list[OldFile]] = defaultdict(list)
    refetching: list[str] = []
    names = store.names
    for item in store.list(names.segments):
        progress.step.done += 1
        found = StoredSegment.listed(names, *item)
        old = parse_old_name(item.name)
        if found:
            segments[found[0]].append(found[1])
        elif marked := names.parse_marker(item.name):
            refetching.append(marked)
        elif old:
            old_files[old].append(OldFile(name=item.name, size=item.size))
        elif not item.name.endswith("/"):  # a folder that was made in the console
            refused.append(Refused("store", item.name))
    left_out = store.left_out(names.segments)
    refused += [Refused("store", f"{name}, {what}") for name, what in left_out]
    return segments, old_files, refetching


def marked_segments(
    store: FeedStore, wallet: str, refused: list[Refused]
) -> tuple[frozenset[str] | None, str]:
    """What the marker of a full refetch names, if any; and what is wrong if it is damaged."""
    try:
        return refetch.being_replaced(store, wallet), ""
    except ObjectLost:
        return None, ""  # it has ended meanwhile
    except ObjectDamaged as error:
        refused.append(Refused("store", store.names.marker(wallet)))
        return None, str(error)


def replaced_segments(
    names: Names,
    marked: Collection[str],
    wallet: str,
    stored: Sequence[StoredSegment],
    without_trades: Interval | None,
) -> list[StoredSegment]:
    """The old segments of a wallet under a full refetch, once the new ones cover as much.

    `without_trades` is what a coverage object states.
    """
    new = [item for item in stored if names.segment(wallet, item.span) not in marked]
    old = [item for item in stored if item not in new]
    spans = [item.span for item in new]
    covered = whole_until([*spans, without_trades] if without_trades else spans) or BEGINNING
    return old if covered >= max((item.span.until for item in old), default=1) else []


def full_refetches(
    store: FeedStore,
    wallets: Collection[str],
    stored: Mapping[str, Sequence[StoredSegment]],
    coverage: Coverage,
    refused: list[Refused],
) -> tuple[dict[str, list[StoredSegment]], dict[str, str]]:
    """What the markers of `wallets` replace, and what is wrong with damaged markers, by wallet.

    The former for each marker that can be read: the old segments, once the new ones cover as much.
    """
    marked = {wallet: marked_segments(store, wallet, refused) for wallet in wallets}
    replaced = {
        wallet: replaced_segments(
            store.names, named, wallet, stored.get(wallet, ()), coverage.of(wallet)
        )
        for wallet, (named, _) in marked.items()
        if named is not None
    }
    return replaced, {wallet: why for wallet, (_, why) in marked.items()}


def verified(
    store: FeedStore,
    recorded: Mapping[str, Recorded],
    stored: Mapping[str, Sequence[StoredSegment]],
    progress: Progress,
) -> tuple[dict[str, list[StoredSegment]], dict[str, dict[str, str]]]:
    """The stored segments, those of recorded wallets with the checksum of what is really there.

    Also why existing segments cannot be read, by wallet and name.
    """
    progress.begin("verifying segments", sum(len(item.segments) for item in recorded.values()))
    readings = Readings(store)
    unread: dict[str, dict[str, str]] = defaultdict(dict)

    def read(wallet: str, item: StoredSegment) -> StoredSegment | None:
        name = store.names.segment(wallet, item.span)
        try:
            data = readings.read(name)
        except ObjectLost:
            return None
        except ObjectUnreadable as error:
            unread[wallet][name] = error.why
            return item
        progress.step.done += 1
        return msgspec.structs.replace(item, size=len(data), crc32c=crc32c(data))

    with ThreadPoolExecutor(_READERS, thread_name_prefix="verify") as readers:
        checked = {
            wallet: [
                found
                for found in readers.map(read, [wallet] * len(items), items)
                if found is not None
            ]
            if wallet in recorded
            else list(items)
            for wallet, items in stored.items()
        }
    return checked, unread
