"""The four ledgers, read: one pass over the record, one listing of the store, one query a table.

The record is read before the store: a wallet that is recorded meanwhile then has more segments
than its record, and not a record without segments.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import msgspec

from polycopy_assets import record
from polycopy_assets.combine import read_manifests
from polycopy_assets.errors import InvalidWallet, ObjectLost, PolycopyError
from polycopy_assets.fetch import refetch
from polycopy_assets.ledger.facts import (
    Checkpoint,
    Facts,
    OldFile,
    Recorded,
    StoredSegment,
    Tally,
    claimed_until,
    whole_until,
)
from polycopy_assets.ledger.findings import to_read
from polycopy_assets.partitions import registered, strays
from polycopy_assets.progress import Progress
from polycopy_assets.reconcile.old_files import inspect
from polycopy_assets.store.base import Store, crc32c
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.trades.old_job import parse_old_name
from polycopy_assets.trades.segment import PREFIX, parse_name, segment_name
from polycopy_assets.trades.wallet import parse_wallet
from polycopy_assets.warehouse.base import Warehouse

_READERS = 8


class Refused(msgspec.Struct, frozen=True):
    """Something in a ledger that names no wallet; it is left alone."""

    ledger: str
    text: str


class Ledgers(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: the facts of every wallet that any ledger knows, and what was refused.

    `manifests` and `loaded` are the batches, and the numbers of those that the table holds.
    """

    facts: Mapping[str, Facts]
    refused: Sequence[Refused]
    manifests: Sequence[Manifest]
    loaded: frozenset[int]


def look(
    instance: dg.DagsterInstance,
    store: Store,
    warehouse: Warehouse,
    *,
    adopt: str,
    verify: bool,
    progress: Progress,
    now: int,
) -> Ledgers:
    """Reads all ledgers and changes none; raises PolycopyError if one of them cannot be read.

    Old files that decide something under policy `adopt` are read; with `verify`, so is every
    recorded segment.
    """
    refused: list[Refused] = []
    recorded = _record(instance, progress)
    taken_back = record.taken_back(instance)
    partitions = set(registered(instance))
    refused += [Refused("partitions", key) for key in strays(instance)]
    stored, old_files = _listing(store, refused, progress)
    manifests = read_manifests(store)
    if recorded and not stored and not manifests:
        raise PolycopyError(
            f"{len(recorded)} wallets are recorded, but there is nothing in {store.uri(PREFIX)}:"
            " is POLYCOPY_STORE right? If the data is really lost, `dagster asset wipe"
            " wallet_trades` takes back the record, and the next backfill fetches it all"
        )
    if verify:
        stored = _verified(store, recorded, stored, progress)
    progress.begin("reading the tables")
    loaded = warehouse.loaded_batches()
    wanted = {wallet for wallet, _ in _sorted_out("traders", warehouse.traders(), refused)}
    checkpoint = warehouse.checkpoint()
    ticks: dict[str, list[Checkpoint]] = defaultdict(list)
    texts = [row.wallet_address for row in checkpoint or ()]
    for wallet, number in _sorted_out("checkpoint", texts, refused):
        ticks[wallet].append((checkpoint or [])[number])
    facts = {
        wallet: Facts(
            wallet=wallet,
            wanted=wallet in wanted,
            registered=wallet in partitions,
            record=recorded.get(wallet),
            taken_back=wallet in taken_back,
            stored=tuple(stored.get(wallet, ())),
            old_files=tuple(old_files.get(wallet, ())),
            ticks=tuple(ticks.get(wallet, ())),
            ticked_here=checkpoint is not None,
        )
        for wallet in sorted(
            {*recorded, *taken_back, *partitions, *stored, *old_files, *ticks, *wanted}
        )
    }
    _inspect(store, facts, adopt, now, progress)
    _tally(warehouse, facts, refused, progress)
    progress.begin("")
    return Ledgers(facts=facts, refused=refused, manifests=manifests, loaded=frozenset(loaded))


def _record(instance: dg.DagsterInstance, progress: Progress) -> dict[str, Recorded]:
    progress.begin("reading the record", len(record.versions(instance)))
    found: dict[str, Recorded] = {}
    for wallet, item in record.ledger(instance):
        progress.step_done += 1
        if isinstance(item, PolycopyError):
            found[wallet] = Recorded(rows=0, segments=(), covered_until=0, problem=str(item))
        else:
            found[wallet] = Recorded(
                rows=sum(segment.rows for segment in item.segments),
                segments=item.segments,
                covered_until=item.covered_until,
                behind=item.behind,
            )
    return found


def _listing(
    store: Store, refused: list[Refused], progress: Progress
) -> tuple[dict[str, list[StoredSegment]], dict[str, list[OldFile]]]:
    progress.begin("listing the store")
    segments: dict[str, list[StoredSegment]] = defaultdict(list)
    old_files: dict[str, list[OldFile]] = defaultdict(list)
    refetching: list[str] = []
    for item in store.list(PREFIX):
        progress.step_done += 1
        named = parse_name(item.name)
        old = parse_old_name(item.name)
        if named:
            segment = StoredSegment(span=named[1], size=item.size, crc32c=item.crc32c)
            segments[named[0]].append(segment)
        elif item.name.endswith(f"/{refetch.MARKER}"):
            refetching.append(item.name.split("/")[1])
        elif old:
            old_files[old].append(OldFile(name=item.name, size=item.size))
        elif not item.name.endswith("/"):  # a folder that somebody made in the console
            refused.append(Refused("store", item.name))
    for wallet in refetching:
        segments[wallet] = _without_replaced(store, wallet, segments[wallet])
    return segments, old_files


def _without_replaced(
    store: Store, wallet: str, stored: list[StoredSegment]
) -> list[StoredSegment]:
    """The segments of a wallet under a full refetch: the new ones alone, once they are whole."""
    old = refetch.under_way(store, wallet)
    new = [item for item in stored if segment_name(wallet, item.span) not in old]
    return new if whole_until(item.span for item in new) else stored


def _sorted_out(
    ledger: str, texts: Iterable[str | None], refused: list[Refused]
) -> Iterator[tuple[str, int]]:
    """(wallet, number of the text) for the texts that name a wallet."""
    for number, text in enumerate(texts):
        try:
            yield parse_wallet(text or ""), number
        except InvalidWallet:
            refused.append(Refused(ledger, "NULL" if text is None else text))


def _verified(
    store: Store,
    recorded: Mapping[str, Recorded],
    stored: Mapping[str, Sequence[StoredSegment]],
    progress: Progress,
) -> dict[str, list[StoredSegment]]:
    """The stored segments of recorded wallets with the checksum of what is really there."""
    progress.begin("verifying segments", sum(len(item.segments) for item in recorded.values()))

    def read(wallet: str, item: StoredSegment) -> StoredSegment | None:
        try:
            data = store.read(segment_name(wallet, item.span))
        except ObjectLost:
            return None
        progress.step_done += 1
        return StoredSegment(span=item.span, size=len(data), crc32c=crc32c(data))

    with ThreadPoolExecutor(_READERS, thread_name_prefix="verify") as readers:
        return {
            wallet: [
                found
                for found in readers.map(read, [wallet] * len(items), items)
                if found is not None
            ]
            if wallet in recorded
            else list(items)
            for wallet, items in stored.items()
        }


def _inspect(
    store: Store, facts: dict[str, Facts], adopt: str, now: int, progress: Progress
) -> None:
    """Reads the old files that decide something."""
    deciding = [item for item in facts.values() if to_read(item, adopt=adopt, now=now)]
    progress.begin("reading the old job's files", len(deciding))

    def read(item: Facts) -> Facts:
        (file,) = item.old_files
        found = inspect(store, file, item.wallet)
        progress.step_done += 1
        return msgspec.structs.replace(item, old_files=(found,))

    with ThreadPoolExecutor(_READERS, thread_name_prefix="inspect") as readers:
        facts.update((item.wallet, item) for item in readers.map(read, deciding))


def _tally(
    warehouse: Warehouse, facts: dict[str, Facts], refused: list[Refused], progress: Progress
) -> None:
    """Counts the table's rows, those of wallets that no other ledger knows as well."""
    progress.begin("counting the table's rows")
    claims = {wallet: until for wallet, item in facts.items() if (until := claimed_until(item))}
    found = warehouse.tally(claims)
    for wallet, number in _sorted_out("trades", [text for text, _ in found], refused):
        known = facts.get(wallet) or Facts(wallet=wallet)
        facts[wallet] = msgspec.structs.replace(known, tally=_sum(known.tally, found[number][1]))


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(*(a + b for a, b in zip(one, other, strict=True)))
