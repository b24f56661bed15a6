"""Makes the record follow the store: revokes records, rebuilds them, and adopts old files."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import msgspec

from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.ledger.evidence import Believed, evidence, marked_complete
from polycopy_assets.ledger.facts import Facts, stored_until
from polycopy_assets.ledger.failure import Failure
from polycopy_assets.migration.old_files import adopt, count_newer
from polycopy_assets.reconcile.shelf import Shelf
from polycopy_assets.record import materializations
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.private import runless
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.interval import BEGINNING
from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.shapes import CHECKPOINT

CHUNK = 200
"""Wallets that are made durable before their materializations are written."""

_WORKERS = 8

Say = Callable[[str], None]
Event = Callable[[Facts], dg.AssetMaterialization | None]


class Recording:
    """Writes records without runs, a chunk of wallets at a time.

    `held` is what the batches hold. `check` raises Stopped if it must not go on, `show` shows the
    progress after each chunk. `segments` are those of the wallets that it
    recorded, `to_fetch` the wallets that have to be fetched now, and `failures` those that could
    not be recorded.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: FeedStore,
        held: Holdings,
        progress: Progress,
        check: Callable[[], None],
        *,
        now: int,
        say: Say,
        show: Callable[[], None],
    ) -> None:
        self._record = FeedRecord(instance, store.feed)
        self._store = store
        self._progress = progress
        self._check = check
        self._now = now
        self._say = say
        self._show = show
        self._shelf = Shelf(store, held)
        self.segments: dict[str, tuple[Segment, ...]] = {}
        self.to_fetch: set[str] = set()
        self.failures: list[Failure] = []

    def revoke(self, ghosts: Sequence[Facts]) -> None:
        """Revokes records whose data is lost; a fetch then requests exactly what is lost."""

        def event(facts: Facts) -> dg.AssetMaterialization | None:
            if facts.revoked is not None:  # left by a run that was killed before it could fetch
                self.to_fetch.add(facts.wallet)
                return None
            why = self._shelf.clear_lost(facts, self._record.latest_or_none(facts.wallet))
            if not why:
                return None  # it was repaired meanwhile
            self.to_fetch.add(facts.wallet)
            until = facts.record.covered_until if facts.record else BEGINNING
            return materializations.revocation(self._store.feed, facts.wallet, why, until)

        self._each(ghosts, "revoking", event)

    def record_stored(self, orphans: Sequence[Facts]) -> None:
        """Records what the store holds; a wallet with a damaged segment is to be fetched."""

        def event(facts: Facts) -> dg.AssetMaterialization | None:
            segments, damaged = self._shelf.segments(facts)
            if damaged:
                self._say(f"{facts.wallet}: {damaged}; it is set aside, and fetched again")
                self.to_fetch.add(facts.wallet)
                return None
            segments = _adopted_without_saying_so(facts, segments)
            newer = 0
            until = stored_until(facts)
            if until is None:
                return None  # the plan is outdated
            if segments and segments[-1].source == CHECKPOINT and len(facts.old_files) == 1:
                # It was being adopted from the old file when the process was killed.
                newer = count_newer(self._store, facts.old_files[0], facts.wallet, until)
            return self._materialization(facts.wallet, segments, until, source="store", newer=newer)

        self._shelf.look_up(orphans)
        self._each(orphans, "recording", event, unless_changed=True)

    def adopt(self, adoptable: Sequence[Facts]) -> None:
        """Adopts old files; a wallet with trades newer than its file is to be fetched."""

        def event(facts: Facts) -> dg.AssetMaterialization | None:
            believed = evidence(facts, self._now)
            if not isinstance(believed, Believed):
                raise PolycopyError(f"there is nothing to adopt: {believed}")
            spans = [item.span for item in facts.stored]
            adopted = adopt(self._store, facts.wallet, believed, spans)
            return self._materialization(
                facts.wallet,
                adopted.segments,
                adopted.segments[-1].until,
                source=CHECKPOINT,
                new_rows=adopted.rows,
                newer=adopted.newer,
            )

        self._each(adoptable, "adopting", event, unless_changed=True)

    def _materialization(
        self,
        wallet: str,
        segments: tuple[Segment, ...],
        until: int,
        *,
        source: str,
        new_rows: int = 0,
        newer: int = 0,
    ) -> dg.AssetMaterialization:
        self.segments[wallet] = segments
        if newer:
            self.to_fetch.add(wallet)
        fetched = Fetched(
            wallet=wallet,
            source=source,
            segments=segments,
            covered_until=until,
            new_rows=new_rows,
            requests=0,
            unknown_fields={},
            seconds=0.0,
        )
        version, metadata = materializations.describe(fetched)
        noted = {materializations.NEWER_THAN_FILE: dg.MetadataValue.int(newer)} if newer else {}
        return materializations.materialization(
            self._store.feed, wallet, version, {**metadata, **noted}
        )

    def _each(
        self, wallets: Sequence[Facts], doing: str, event: Event, *, unless_changed: bool = False
    ) -> None:
        """Writes the event of each wallet, once what it says is durable.

        With `unless_changed`, a wallet whose record has changed since it was read is left
        unchanged, because the plan for it is outdated.
        """
        self._progress.begin(doing, len(wallets))

        def made(facts: Facts) -> dg.AssetMaterialization | None:
            try:
                return event(facts)
            except PolycopyError as error:
                self.failures.append(Failure(facts.wallet, str(error)))
                return None

        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="repair") as workers:
            for start in range(0, len(wallets), CHUNK):
                chunk = wallets[start : start + CHUNK]
                self._check()
                left = self._unchanged(chunk) if unless_changed else chunk
                events = [item for item in workers.map(made, left) if item is not None]
                for _ in runless.write(self._record.instance, events):
                    pass
                self._progress.step.done += len(chunk)
                self._show()
        self._progress.begin("")

    def _unchanged(self, chunk: Sequence[Facts]) -> list[Facts]:
        """The wallets of `chunk` whose record is still the one that was read, or still missing."""
        now = self._record.versions([facts.wallet for facts in chunk])
        return [
            facts
            for facts in chunk
            if now.get(facts.wallet) == (facts.record.version if facts.record else None)
        ]


def _adopted_without_saying_so(facts: Facts, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The segments, an empty first one marked as adopted if it may have been.

    A segment without rows does not say where it came from. A process that was killed while adopting
    an old file may have left it, and then only the old job says that there are no trades.
    """
    if not segments:
        return segments
    first, *others = segments
    doubtful = (
        not first.rows and first.source is None and facts.old_files and marked_complete(facts)
    )
    if not doubtful:
        return segments
    return (msgspec.structs.replace(first, source=CHECKPOINT), *others)
