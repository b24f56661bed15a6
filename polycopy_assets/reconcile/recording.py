"""Making the record follow the store: taken back, rebuilt, and taken over from old files."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import msgspec

from polycopy_assets import record, runless
from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.wallet import Fetched
from polycopy_assets.ledger.evidence import Believed, evidence, ticked_off
from polycopy_assets.ledger.facts import Facts
from polycopy_assets.progress import Progress
from polycopy_assets.reconcile.look import Ledgers
from polycopy_assets.reconcile.old_files import adopt, count_behind
from polycopy_assets.reconcile.stored import Shelf
from polycopy_assets.store.base import Store
from polycopy_assets.trades.interval import BEGINNING
from polycopy_assets.trades.old_job import CHECKPOINT
from polycopy_assets.trades.segment import Segment, wallet_prefix

CHUNK = 200
"""Wallets that are made durable before their materializations are written."""

_WORKERS = 8

Say = Callable[[str], None]
Event = Callable[[Facts], dg.AssetMaterialization | None]


class Recording:
    """Writes records without runs, a chunk of wallets at a time.

    `segments` are those of the wallets that it recorded, `to_fetch` the wallets that have to be
    fetched now, and `failures` (wallet, reason).
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: Store,
        ledgers: Ledgers,
        progress: Progress,
        *,
        now: int,
        say: Say,
    ) -> None:
        self._instance = instance
        self._store = store
        self._progress = progress
        self._now = now
        self._say = say
        self._shelf = Shelf(store, ledgers.manifests)
        self.segments: dict[str, tuple[Segment, ...]] = {}
        self.to_fetch: set[str] = set()
        self.failures: list[tuple[str, str]] = []

    def take_back(self, ghosts: Sequence[Facts]) -> None:
        """Takes back records whose data is lost; a fetch then asks for exactly what is lost."""

        def event(facts: Facts) -> dg.AssetMaterialization | None:
            if facts.taken_back is not None:  # by a process that was killed before it could fetch
                self.to_fetch.add(facts.wallet)
                return None
            why = self._shelf.clear_lost(facts, record.record_or_none(self._instance, facts.wallet))
            if not why:
                return None  # meanwhile it was put right
            self.to_fetch.add(facts.wallet)
            until = facts.record.covered_until if facts.record else BEGINNING
            return record.revocation(facts.wallet, why, until)

        self._each(ghosts, "taking back", event)

    def record_stored(self, orphans: Sequence[Facts]) -> None:
        """Records what the store holds; a wallet with a damaged segment is to be fetched."""

        def event(facts: Facts) -> dg.AssetMaterialization | None:
            segments, damaged = self._shelf.segments(facts)
            if damaged:
                self._say(f"{facts.wallet}: {damaged}; it is set aside, and fetched again")
                self.to_fetch.add(facts.wallet)
                return None
            segments = _adopted_without_saying_so(facts, segments)
            behind = 0
            if segments[-1].source == CHECKPOINT and len(facts.old_files) == 1:
                # It was being taken over from the old file when the process was killed.
                behind = count_behind(
                    self._store, facts.old_files[0], facts.wallet, segments[-1].until
                )
            return self._materialization(facts.wallet, segments, source="store", behind=behind)

        self._each(orphans, "recording", event, unless_changed=True)

    def adopt(self, adoptable: Sequence[Facts]) -> None:
        """Takes over old files; a wallet with trades behind what is believed is to be fetched."""

        def event(facts: Facts) -> dg.AssetMaterialization | None:
            believed = evidence(facts, self._now)
            if not isinstance(believed, Believed):
                raise PolycopyError(f"there is nothing to adopt: {believed}")
            spans = [item.span for item in facts.stored]
            adopted = adopt(self._store, facts.wallet, believed, spans)
            return self._materialization(
                facts.wallet,
                adopted.segments,
                source=CHECKPOINT,
                new_rows=adopted.rows,
                behind=adopted.behind,
            )

        self._each(adoptable, "adopting", event, unless_changed=True)

    def _materialization(
        self,
        wallet: str,
        segments: tuple[Segment, ...],
        *,
        source: str,
        new_rows: int = 0,
        behind: int = 0,
    ) -> dg.AssetMaterialization:
        self.segments[wallet] = segments
        if behind:
            self.to_fetch.add(wallet)
        fetched = Fetched(
            wallet=wallet,
            source=source,
            segments=segments,
            covered_until=segments[-1].until,
            new_rows=new_rows,
            requests=0,
            unknown_fields={},
            seconds=0.0,
        )
        version, metadata = record.describe(fetched, self._store.uri(wallet_prefix(wallet)))
        noted = {record.BEHIND: dg.MetadataValue.int(behind)} if behind else {}
        return record.materialization(wallet, version, {**metadata, **noted})

    def _each(
        self, wallets: Sequence[Facts], doing: str, event: Event, *, unless_changed: bool = False
    ) -> None:
        """Writes the event of each wallet, once what it says is durable.

        With `unless_changed` a wallet whose record somebody else has changed since it was looked at
        is left as it is: what was planned for it is not true any more.
        """
        self._progress.begin(doing, len(wallets))

        def made(facts: Facts) -> dg.AssetMaterialization | None:
            try:
                return event(facts)
            except PolycopyError as error:
                self.failures.append((facts.wallet, str(error)))
                return None

        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="mend") as workers:
            for start in range(0, len(wallets), CHUNK):
                chunk = wallets[start : start + CHUNK]
                left = self._unchanged(chunk) if unless_changed else chunk
                events = [item for item in workers.map(made, left) if item is not None]
                for _ in runless.write(self._instance, events):
                    pass
                self._progress.step_done += len(chunk)
                self._say(self._progress.line())
        self._progress.begin("")

    def _unchanged(self, chunk: Sequence[Facts]) -> list[Facts]:
        """Those of `chunk` whose record is still the one that was looked at, or still none."""
        now = record.versions(self._instance, [facts.wallet for facts in chunk])
        return [
            facts
            for facts in chunk
            if now.get(facts.wallet) == (facts.record.version if facts.record else None)
        ]


def _adopted_without_saying_so(facts: Facts, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The segments, an empty first one marked as adopted if it may have been.

    A file without rows does not say who wrote it. A process that was killed while it took over an
    old file may have left it, and then only the old job says that there is nothing.
    """
    first, *others = segments
    doubtful = not first.rows and first.source is None and facts.old_files and ticked_off(facts)
    if not doubtful:
        return segments
    return (msgspec.structs.replace(first, source=CHECKPOINT), *others)
