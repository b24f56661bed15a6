"""Reads the four ledgers: one pass over the record, one listing of the store, one query a table.

The record is read before the store: a wallet recorded in between then has more segments than its
record names, not a record without segments.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import msgspec

from polycopy_assets.batches.load import unloaded
from polycopy_assets.batches.manifests import Batches, Broken
from polycopy_assets.batches.parts import unreadable
from polycopy_assets.batches.plan import InRecord, new_segments, to_combine_again
from polycopy_assets.batches.plan import pending as not_combined
from polycopy_assets.errors import InvalidWallet, PolycopyError
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.ledger.facts import (
    Checkpoint,
    Facts,
    Recorded,
    StoredSegment,
    Tally,
    claimed_until,
)
from polycopy_assets.ledger.findings import lost_segments, to_read
from polycopy_assets.ledger.kinds import Adopt
from polycopy_assets.migration.old_files import inspect
from polycopy_assets.pipeline.combine import sound_and_broken
from polycopy_assets.reconcile.audit import suspected
from polycopy_assets.reconcile.listing import (
    Refused,
    list_store,
    marked_segments,
    replaced_segments,
    verified,
)
from polycopy_assets.record import materializations
from polycopy_assets.record import refetching as refetching_notes
from polycopy_assets.record.partitions import invalid_keys, registered
from polycopy_assets.store.base import Store
from polycopy_assets.store.coverage import Coverage, read_coverage
from polycopy_assets.store.reading import Readings
from polycopy_assets.trades.batch import Header
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.segment import PREFIX, Segment, wallet_prefix
from polycopy_assets.trades.wallet import parse_wallet
from polycopy_assets.warehouse.base import Warehouse

_READERS = 8
UNFINISHED = "a full refetch has not ended"


class Ledgers(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: the facts of every wallet that any ledger knows, and what was refused.

    `batches` are those of the store; a batch that is not in the table counts as broken too if its
    files have changed. `loaded` are the numbers of those in the table, `waiting` are the usable
    ones to be loaded: the first that is not there, and all later ones. `force` are the wallets to
    combine again although no trade is new: some of their trades are no longer in any batch, or
    broken batches name them.
    """

    facts: Mapping[str, Facts]
    refused: Sequence[Refused]
    batches: Batches
    loaded: frozenset[int]
    waiting: Sequence[Header]
    force: frozenset[str]

    @property
    def broken(self) -> Sequence[Broken]:
        """The batches that cannot be used, and why."""
        return self.batches.broken


def read_ledgers(
    instance: dg.DagsterInstance,
    store: Store,
    warehouse: Warehouse,
    *,
    adopt: Adopt,
    verify: bool,
    progress: Progress,
    now: int,
) -> Ledgers:
    """Reads all ledgers and changes none; raises PolycopyError if one of them cannot be read.

    Old files that matter under policy `adopt` are read. With `verify`, so is every recorded
    segment; without it, only those of wallets for which an audit found a loss.
    """
    refused: list[Refused] = []
    recorded = _record(instance, progress)
    revoked = materializations.revoked(instance)
    partitions = set(registered(instance))
    refused += [Refused("partitions", key) for key in invalid_keys(instance)]
    stored, old_files, refetching = list_store(store, refused, progress)
    loaded = warehouse.loaded_batches()
    batches = sound_and_broken(store, loaded, everything=True)
    waiting = unloaded(batches.sound, loaded)
    refused += [Refused("store", name) for name in batches.strange]
    coverage = read_coverage(store)
    refused += [Refused("store", name) for name in (*coverage.strange, *coverage.damaged)]
    if recorded and not stored and not batches.sound and not coverage.objects:
        raise PolycopyError(
            f"{len(recorded)} wallets are recorded, but there is nothing in {store.uri(PREFIX)}:"
            " is POLYCOPY_STORE right? If the data is really lost, `dagster asset wipe"
            " wallet_trades` deletes the record, and the next backfill fetches it all"
        )
    unread: dict[str, dict[str, str]] = defaultdict(dict)
    suspects = recorded if verify else recorded.keys() & suspected(instance)
    if suspects:
        to_verify = {wallet: recorded[wallet] for wallet in suspects}
        stored, unread = verified(store, to_verify, stored, progress)
    _read_replaced_again(instance, store, recorded, stored, unread)
    marked = {wallet: marked_segments(store, wallet, refused) for wallet in refetching}
    replaced = {
        wallet: replaced_segments(names, wallet, stored.get(wallet, ()), coverage.of(wallet))
        for wallet, (names, _) in marked.items()
        if names is not None
    }
    # Noted by a run that was killed before it wrote the marker, or after it removed the marker.
    noted = refetching_notes.unfinished(instance)
    progress.begin("reading the tables")
    new = set(not_combined({w: item.version for w, item in recorded.items()}, batches.held))
    gone, named = to_combine_again(_in_record(recorded), batches)
    force = (gone | named) - new
    pending = {
        **dict.fromkeys(new | force, "no batch holds all that is recorded"),
        **_not_loaded(batches.held, waiting),
        **_named(named, batches),
    }
    uncombined = {wallet: recorded[wallet] for wallet in new}
    for wallet, why in _unreadable(store, uncombined, batches.held, progress).items():
        unread[wallet] |= why
    wanted = {wallet for wallet, _ in _sorted_out("traders", warehouse.traders(), refused)}
    checkpoint = warehouse.checkpoint()
    ticks: dict[str, list[Checkpoint]] = defaultdict(list)
    texts = [row.wallet_address for row in checkpoint or ()]
    for wallet, number in _sorted_out("checkpoint", texts, refused):
        ticks[wallet].append((checkpoint or [])[number])
    latest = _horizon(recorded.values(), coverage, now)
    facts = {
        wallet: Facts(
            wallet=wallet,
            wanted=wallet in wanted,
            registered=wallet in partitions,
            record=recorded.get(wallet),
            revoked=revoked.get(wallet),
            stored=_without(stored.get(wallet, ()), replaced.get(wallet, ())),
            covered=coverage.of(wallet),
            replaced=tuple(replaced.get(wallet, ())),
            refetching=UNFINISHED if wallet in noted or wallet in replaced else "",
            marker_damaged=marked[wallet][1] if wallet in marked else "",
            pending=pending.get(wallet, ""),
            unreadable=unread.get(wallet, {}),
            horizon=latest if wallet in recorded and recorded[wallet].horizon else now,
            now=now,
            old_files=tuple(old_files.get(wallet, ())),
            ticks=tuple(ticks.get(wallet, ())),
            has_checkpoint=checkpoint is not None,
        )
        for wallet in sorted(
            {
                *recorded,
                *revoked,
                *partitions,
                *stored,
                *coverage.statements,
                *old_files,
                *ticks,
                *wanted,
                *marked,
            }
        )
    }
    _inspect(store, facts, adopt, now, progress)
    _tally(warehouse, facts, batches.held, refused, progress, by_id=verify)
    progress.begin("")
    return Ledgers(
        facts=facts,
        refused=refused,
        batches=batches,
        loaded=frozenset(loaded),
        waiting=waiting,
        force=frozenset(force),
    )


def _record(instance: dg.DagsterInstance, progress: Progress) -> dict[str, Recorded]:
    versions = materializations.versions(instance)
    progress.begin("reading the record", len(versions))
    found: dict[str, Recorded] = {}
    for wallet, item in materializations.ledger(instance):
        progress.step_done += 1
        if isinstance(item, PolycopyError):
            found[wallet] = Recorded(
                version=versions.get(wallet, ""),
                rows=0,
                segments=(),
                covered_until=0,
                problem=str(item),
            )
        else:
            found[wallet] = _recorded(item)
    return found


def _recorded(item: materializations.Record) -> Recorded:
    return Recorded(
        version=item.version,
        rows=sum(segment.rows for segment in item.segments),
        segments=item.segments,
        covered_until=item.covered_until,
        newer=item.newer,
        horizon=item.horizon,
    )


def _read_replaced_again(
    instance: dg.DagsterInstance,
    store: Store,
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
        now = materializations.record_or_none(instance, wallet)
        if now is not None and now.segments != item.segments:
            recorded[wallet] = _recorded(now)
            listed = (StoredSegment.listed(*found) for found in store.list(wallet_prefix(wallet)))
            stored[wallet] = [found[1] for found in listed if found]
            unread.pop(wallet, None)


def _horizon(recorded: Iterable[Recorded], coverage: Coverage, now: int) -> int:
    """Until when coverage with its own horizon can be trusted: the source's latest horizon."""
    told = [(item.horizon.at, item.horizon.until) for item in recorded if item.horizon is not None]
    stated = coverage.latest
    if stated:
        told.append((stated.at, stated.until))
    return max(told)[1] if told else now


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


def _unreadable(
    store: Store, uncombined: Mapping[str, Recorded], held: Holdings, progress: Progress
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
        progress.step_done += 1
        return segment, dict(unreadable(readings, [segment]))

    found: dict[str, dict[str, str]] = defaultdict(dict)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="read") as readers:
        for segment, why in readers.map(read, new):
            if why:
                found[segment.wallet] |= why
    return found


def _sorted_out(
    ledger: str, texts: Iterable[str | None], refused: list[Refused]
) -> Iterator[tuple[str, int]]:
    """(wallet, number of the text) for the texts that name a wallet."""
    for number, text in enumerate(texts):
        try:
            yield parse_wallet(text or ""), number
        except InvalidWallet:
            refused.append(Refused(ledger, "NULL" if text is None else text))


def _without(
    stored: Sequence[StoredSegment], replaced: Sequence[StoredSegment]
) -> tuple[StoredSegment, ...]:
    return tuple(item for item in stored if item not in replaced)


def _inspect(
    store: Store, facts: dict[str, Facts], adopt: Adopt, now: int, progress: Progress
) -> None:
    """Reads the old files that matter for a finding."""
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
    warehouse: Warehouse,
    facts: dict[str, Facts],
    held: Holdings,
    refused: list[Refused],
    progress: Progress,
    *,
    by_id: bool,
) -> None:
    """Counts the table's rows, including those of wallets that no other ledger knows.

    If no batch has claims of such a wallet either, the rows that we loaded are counted too.
    """
    progress.begin("counting the table's rows")
    claims = {wallet: until for wallet, item in facts.items() if (until := claimed_until(item))}
    found = warehouse.tally(claims, by_id=by_id)
    unknown: list[str] = []
    for wallet, number in _sorted_out("trades", [text for text, _ in found], refused):
        known = facts.get(wallet) or Facts(wallet=wallet)
        if wallet not in facts and not held.names(wallet):
            unknown.append(wallet)
        facts[wallet] = msgspec.structs.replace(known, tally=_sum(known.tally, found[number][1]))
    for wallet, rows in warehouse.loaded_rows(unknown).items():
        facts[wallet] = msgspec.structs.replace(facts[wallet], unclaimed=rows)


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(*(a + b for a, b in zip(one, other, strict=True)))
