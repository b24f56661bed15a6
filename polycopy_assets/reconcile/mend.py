"""Acting on findings: each step makes one ledger follow the facts, and can be killed anywhere.

The order is that of the data: what is in the store is recorded, what is missing is fetched, what
is recorded is loaded, and last the old job's checkpoint is told. A step that was killed left facts
behind that the next reconciliation finds again.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

import dagster as dg

from polycopy_assets import record, runless
from polycopy_assets.combine import identity
from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.wallet import Fetched
from polycopy_assets.ledger.evidence import Believed, evidence, ticked_off
from polycopy_assets.ledger.facts import Checkpoint, Facts
from polycopy_assets.ledger.findings import SETTLED, Finding, table_differs
from polycopy_assets.partitions import register
from polycopy_assets.reconcile.look import Ledgers
from polycopy_assets.reconcile.old_files import adopt
from polycopy_assets.reconcile.stored import Shelf
from polycopy_assets.runs import Runs
from polycopy_assets.store.base import Store
from polycopy_assets.trades.batch import claim
from polycopy_assets.trades.old_job import CHECKPOINT
from polycopy_assets.trades.segment import Segment, wallet_prefix
from polycopy_assets.warehouse.base import Warehouse

CHUNK = 200
"""Wallets that are adopted or recorded before their materializations are written."""

_WORKERS = 8
_TICKS = 10_000

T = TypeVar("T")
Say = Callable[[str], None]


class Mender:
    """Acts on the findings of one look at the ledgers; `failures` are (wallet, reason)."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: Store,
        warehouse: Warehouse,
        runs: Runs,
        ledgers: Ledgers,
        *,
        now: int,
        say: Say,
    ) -> None:
        self._instance = instance
        self._store = store
        self._warehouse = warehouse
        self._runs = runs
        self._ledgers = ledgers
        self._now = now
        self._say = say
        self._shelf = Shelf(store, ledgers.manifests)
        self._recorded: dict[str, tuple[Segment, ...]] = {}
        self._to_fetch: list[str] = []
        self.failures: list[tuple[str, str]] = []

    def act(self, findings: Iterable[Finding], policy: str) -> list[str]:
        """Takes the action of every finding; the checks of the table that failed.

        Under policy `refetch` what was adopted, now or before, is then fetched from the beginning.

        A wallet that cannot be brought in order is a failure, and holds back no other. Raises
        PolycopyError if something other than a wallet fails.
        """
        acting = [item for item in findings if item.finding not in SETTLED]
        of: dict[str, list[Facts]] = {}
        for item in acting:
            of.setdefault(item.finding, []).append(self._ledgers.facts[item.wallet])
        register(self._instance, (item.wallet for item in acting))
        self._take_back(of.get("ghost", []))
        self._each(of.get("orphan", []), "recording", self._record_stored)
        self._each(of.get("adoptable", []), "adopting", self._adopt)
        self._to_fetch += [
            item.wallet
            for name in ("false_complete", "empty_complete")
            for item in of.get(name, [])
        ]
        self._fetch(self._to_fetch)
        self._delete_misspelled()
        failed_checks = self._load(again=self._wrong_in_table())
        if policy == "refetch":
            failed_checks = self._replace() or failed_checks
        self._tick_off()
        return failed_checks

    # -- the record -----------------------------------------------------------------------------

    def _take_back(self, ghosts: Sequence[Facts]) -> None:
        """Takes back records whose data is lost; the fetch then asks for exactly what is lost."""

        def take_back(facts: Facts) -> dg.AssetMaterialization | None:
            why = self._shelf.clear_lost(facts, record.record_or_none(self._instance, facts.wallet))
            if not why:
                return None  # meanwhile it was put right
            self._to_fetch.append(facts.wallet)
            return record.revocation(facts.wallet, why)

        self._each(ghosts, "taking back", take_back)

    def _record_stored(self, facts: Facts) -> dg.AssetMaterialization | None:
        """The record of what the store holds of a wallet; None if it has to be fetched instead."""
        segments, damaged = self._shelf.segments(facts)
        if damaged:
            self._say(f"{facts.wallet}: {damaged}; it is set aside, and fetched again")
            self._to_fetch.append(facts.wallet)
            return None
        return self._materialization(facts.wallet, segments, source="store", new_rows=0)

    def _adopt(self, facts: Facts) -> dg.AssetMaterialization:
        believed = evidence(facts, self._now)
        if not isinstance(believed, Believed):
            raise PolycopyError(f"there is nothing to adopt: {believed}")
        spans = [item.span for item in facts.stored]
        adopted = adopt(self._store, facts.wallet, believed, spans)
        if adopted.more:
            self._to_fetch.append(facts.wallet)
        return self._materialization(
            facts.wallet, adopted.segments, source=CHECKPOINT, new_rows=adopted.rows
        )

    def _materialization(
        self, wallet: str, segments: tuple[Segment, ...], *, source: str, new_rows: int
    ) -> dg.AssetMaterialization:
        self._recorded[wallet] = segments
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
        return record.materialization(wallet, version, metadata)

    def _each(
        self,
        wallets: Sequence[Facts],
        doing: str,
        event: Callable[[Facts], dg.AssetMaterialization | None],
    ) -> None:
        """Writes the event of each wallet, once it is durable what the event says."""
        progress = self._runs.progress
        progress.begin(doing, len(wallets))

        def made(facts: Facts) -> dg.AssetMaterialization | None:
            try:
                return event(facts)
            except PolycopyError as error:
                self.failures.append((facts.wallet, str(error)))
                return None

        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="mend") as workers:
            for chunk in _chunks(wallets, CHUNK):
                events = [item for item in workers.map(made, chunk) if item is not None]
                for _ in runless.write(self._instance, events):
                    pass
                progress.step_done += len(chunk)
                self._say(progress.line())
        progress.begin("")

    # -- the source, the table, the checkpoint --------------------------------------------------

    def _fetch(self, wallets: Collection[str], **config: str) -> None:
        if wallets:
            before = len(self._runs.progress.failures)
            self._runs.fetch(self._instance, wallets=sorted(set(wallets)), **config)
            self.failures += self._runs.progress.failures[before:]

    def _replace(self) -> list[str]:
        """Fetches anew, and loads, what comes from the old job; it is served until then."""
        adopted = [
            item.wallet
            for item in self._complete(self._ledgers.facts)
            if any(segment.source == CHECKPOINT for segment in item.segments)
        ]
        self._fetch(adopted, mode="FULL")
        return self._load()

    def _load(self, again: Collection[str] = ()) -> list[str]:
        self._runs.progress.begin("loading")
        return self._runs.load(self._instance, self._store, self._warehouse, again=again)

    def _wrong_in_table(self) -> set[str]:
        """The recorded wallets of which the table does not hold what was loaded of them."""
        unrecorded = {w: facts for w, facts in self._ledgers.facts.items() if not facts.record}
        loaded = {
            identity(item)
            for manifest in self._ledgers.manifests
            if manifest.batch in self._ledgers.loaded
            for item in manifest.claims
        }
        # What was fetched without a record before may be what was loaded long ago.
        wrong = {w for w in self._to_fetch if w in unrecorded and unrecorded[w].tally.rows}
        for wallet, facts in self._ledgers.facts.items():
            segments = self._recorded.get(wallet) or (facts.record.segments if facts.record else ())
            rows = sum(item.rows for item in segments if identity(claim(item, "")) in loaded)
            if segments and table_differs(facts, rows):
                wrong.add(wallet)
        return wrong

    def _delete_misspelled(self) -> None:
        """Deletes what an older job put inside our claims under an address in another case."""
        wallets = [item.wallet for item in self._ledgers.facts.values() if item.tally.misspelled]
        claims = {item.wallet: item.covered_until for item in self._complete(wallets)}
        if claims:
            deleted = self._warehouse.delete_misspelled(claims)
            self._say(f"{deleted:,} rows deleted whose address was not in lower case")

    def _tick_off(self) -> None:
        """Tells the old job's checkpoint, if there is one, which wallets are complete."""
        known = self._ledgers.facts
        if not any(facts.ticked_here for facts in known.values()):
            return
        new = [
            w for w in record.versions(self._instance) if not (w in known and ticked_off(known[w]))
        ]
        for chunk in _chunks(new, _TICKS):
            self._warehouse.tick_off([self._tick(item) for item in self._complete(chunk)])
            self._say(f"{len(chunk):,} wallets ticked off in the checkpoint")

    def _tick(self, item: record.Record) -> Checkpoint:
        return Checkpoint(
            wallet_address=item.wallet,
            completed=True,
            processed_at=datetime.fromtimestamp(item.covered_until, UTC),
            trade_count=sum(segment.rows for segment in item.segments),
            gcs_file=self._store.uri(wallet_prefix(item.wallet)),
            upload_successful=True,
        )

    def _complete(self, wallets: Collection[str]) -> Iterator[record.Record]:
        """The records of those of `wallets` that are complete now."""
        versions = record.versions(self._instance)
        return record.records(self._instance, [w for w in wallets if w in versions])


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
