"""The batches as a ledger: what they lack of the record, and what the table lacks of them."""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from polycopy_assets.batches.manifests import Batches
from polycopy_assets.batches.parts import unreadable
from polycopy_assets.batches.plan import InRecord, new_segments, to_combine_again
from polycopy_assets.batches.plan import pending as not_combined
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.ledger.facts import Recorded
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.reading import Readings
from polycopy_assets.trades.batch import Header
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.segment import Segment

_READERS = 8


class Lacking(NamedTuple):
    """The wallets with trades that are not in the table yet.

    `new` have trades that no batch holds. `force` are to be combined again although no trade is
    new. `pending` says of all of them, and of those whose batch is not loaded, why.
    """

    new: set[str]
    force: set[str]
    pending: dict[str, str]


def lacking(
    recorded: Mapping[str, Recorded], batches: Batches, waiting: Sequence[Header]
) -> Lacking:
    """Compares the record with `batches`, of which `waiting` are to be loaded."""
    new = set(not_combined({w: item.version for w, item in recorded.items()}, batches.held))
    gone, named = to_combine_again(_in_record(recorded), batches)
    force = (gone | named) - new
    pending = {
        **dict.fromkeys(new | force, "no batch holds all that is recorded"),
        **_not_loaded(batches.held, waiting),
        **_named(named, batches),
    }
    return Lacking(new, force, pending)


def unreadable_segments(
    store: FeedStore, uncombined: Mapping[str, Recorded], held: Holdings, progress: Progress
) -> dict[str, dict[str, str]]:
    """The segments that are in no batch and cannot be combined, found by reading them."""
    new = [
        segment
        for record in _in_record(uncombined)
        for segment in new_segments(record, held)
        if segment.rows
    ]
    progress.begin("reading segments that no batch holds yet", len(new))
    readings = Readings(store)

    def read(segment: Segment) -> tuple[Segment, dict[str, str]]:
        progress.step.done += 1
        return segment, dict(unreadable(readings, [segment], store.feed))

    found: dict[str, dict[str, str]] = defaultdict(dict)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="read") as readers:
        for segment, why in readers.map(read, new):
            if why:
                found[segment.wallet] |= why
    return found


def _in_record(recorded: Mapping[str, Recorded]) -> Iterator[InRecord]:
    for wallet, item in recorded.items():
        yield InRecord(wallet, item.version, item.segments, item.covered_until)


def _named(again: Container[str], batches: Batches) -> dict[str, str]:
    """The broken batch that names a wallet to be combined again for it, and what is wrong."""
    return {
        item.wallet: f"{each.name} is broken: {each.why}"
        for each in batches.broken
        for item in each.claims
        if item.wallet in again
    }


def _not_loaded(held: Holdings, waiting: Sequence[Header]) -> dict[str, str]:
    """The wallets that batches name which are not in the table: from the first one on, all."""
    if not waiting:
        return {}
    first = waiting[0].batch
    return {
        wallet: f"batch {item.batch} is not loaded yet"
        for wallet, item in held
        if item.batch >= first
    }
