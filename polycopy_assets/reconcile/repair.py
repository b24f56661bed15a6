"""Acts on findings: each step makes one ledger follow the facts, and can be killed anywhere.

The order is that of the data: first, stored trades are recorded and loaded, then missing trades are
fetched and loaded, and last the old job's checkpoint is updated. The next reconciliation finds what
a killed step left undone.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg

from polycopy_assets.batches.manifests import read_manifests
from polycopy_assets.errors import PolycopyError, WarehouseError
from polycopy_assets.fetch import refetch
from polycopy_assets.ledger.evidence import marked_complete
from polycopy_assets.ledger.facts import Checkpoint, Facts, claimed_until, doubtful
from polycopy_assets.ledger.failure import Failure
from polycopy_assets.ledger.findings import Finding, table_differs
from polycopy_assets.ledger.kinds import Adopt
from polycopy_assets.reconcile.engine import Engine
from polycopy_assets.reconcile.read_ledgers import Ledgers
from polycopy_assets.reconcile.recording import Recording, Say
from polycopy_assets.reconcile.work import Work
from polycopy_assets.record import refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.record.partitions import register
from polycopy_assets.record.wanted import copy_rows
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.text import counted
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.shapes import CHECKPOINT
from polycopy_assets.warehouse.base import Warehouse

_TICKS = 10_000


class Repair:
    """Acts on the findings of one reading of the ledgers, under policy `adopt`.

    `failures` are the wallets that could not be repaired; `failed_checks` what the checks of the
    table found last.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: FeedStore,
        warehouse: Warehouse,
        engine: Engine,
        ledgers: Ledgers,
        *,
        adopt: Adopt,
        now: int,
        say: Say,
    ) -> None:
        self._record = FeedRecord(instance, store.feed)
        self._store = store
        self._warehouse = warehouse
        self._table = warehouse.table(store.feed)
        self._engine = engine
        self._ledgers = ledgers
        self._refetch = adopt is Adopt.REFETCH
        self._say = say
        self._recording = Recording(
            instance,
            store,
            ledgers.batches.held,
            engine.progress,
            engine.check,
            now=now,
            say=say,
            show=lambda: say(engine.progress.line()),
        )
        self.failures: list[Failure] = []
        self.failed_checks: list[str] = []

    def act(self, findings: Iterable[Finding]) -> None:
        """Takes the action of every finding.

        A wallet that cannot be repaired is a failure and does not stop the others. Raises
        PolycopyError if something other than a wallet fails.
        """
        work = Work()
        for item in findings:
            work.add(item.finding, self._ledgers.facts[item.wallet])
        self._list_wanted()
        register(
            self._record.instance, (facts.wallet for facts in work.known if facts.retired is None)
        )
        recording = self._recording
        self._set_markers_aside()
        self._replace_doubtful(work.ahead)
        recording.revoke(work.ghosts)
        recording.record_stored(work.orphans)
        recording.adopt(work.adoptable)
        self.failures += recording.failures
        asked = {facts.wallet for facts in (*work.ahead, *work.lacking)}
        to_fetch = recording.to_fetch | asked | self._to_refetch()
        wrong = self._wrong_in_table(to_fetch) | self._ledgers.force
        self._load(self._ledgers.facts.keys() - to_fetch, force=wrong - to_fetch)
        self._fetch(to_fetch)
        self._load(to_fetch, force=wrong & to_fetch)
        if self._refetch:
            self._fetch(self._adopted(), full=True)
            self._load((), force=())
        self._mark_complete()
        if work.unclaimed:
            self._delete_unclaimed(work.unclaimed)

    def _list_wanted(self) -> None:
        """Makes `traders` and the store's list name the same wallets."""
        unlisted = [facts.wallet for facts in self._ledgers.facts.values() if facts.unlisted]
        if unlisted:
            added = self._warehouse.add_traders(unlisted)
            self._say(f"{counted(added, 'wallet')} of the store's list added to `traders`")
        copy_rows(self._store, self._ledgers.rows, self._ledgers.listed)

    def _set_markers_aside(self) -> None:
        """Sets damaged markers aside.

        Without its marker all segments of a wallet count, which does no harm.
        """
        for facts in self._ledgers.facts.values():
            if facts.marker_damaged:
                with self._failing(facts):
                    set_aside(self._store, self._store.names.marker(facts.wallet))
                    self._say(f"{facts.wallet}: {facts.marker_damaged}; it is set aside")

    def _replace_doubtful(self, ahead: Sequence[Facts]) -> None:
        """Marks the segments that reach too far, so that the next fetch replaces them."""
        if ahead:
            refetching.note_marked(self._record, (facts.wallet for facts in ahead))
        for facts in ahead:
            names = [self._store.names.segment(facts.wallet, s) for s in doubtful(facts)]
            if not names:
                continue  # only time without trades: the fetch does not believe it either
            with self._failing(facts):
                refetch.begin(self._store, facts.wallet, names)
                reach = counted(len(names), "segment reaches", "segments reach")
                self._say(f"{facts.wallet}: {reach} too far: to be replaced")

    def _to_refetch(self) -> set[str]:
        """Ends full refetches whose new segments are recorded; returns the other wallets."""
        left = {wallet for wallet, facts in self._ledgers.facts.items() if facts.refetching}
        for wallet in sorted(left):
            facts = self._ledgers.facts[wallet]
            name = self._store.names.segment
            old = {name(wallet, item.span) for item in facts.replaced}
            recorded = self._recording.segments.get(wallet) or (
                facts.record.segments if facts.record else ()
            )
            if old and recorded and not old & {segment.name for segment in recorded}:
                left.discard(wallet)
                with self._failing(facts):
                    refetch.finish(self._store, wallet, old)
                    refetching.end(self._record, wallet)
        return left

    @contextmanager
    def _failing(self, facts: Facts) -> Iterator[None]:
        """Turns an error of ours into the failure of one wallet."""
        self._engine.check()
        try:
            yield
        except PolycopyError as error:
            self.failures.append(Failure(facts.wallet, str(error)))

    def _fetch(self, wallets: Collection[str], *, full: bool = False) -> None:
        """Fetches those of `wallets` that were not removed."""
        facts = self._ledgers.facts
        collected = sorted(w for w in wallets if w not in facts or facts[w].retired is None)
        if collected:
            report = self._engine.fetch(collected, full=full)
            self.failures += [each.plain for each in report.failures]

    def _adopted(self) -> list[str]:
        """The wallets whose record names segments from the old job."""
        return [
            item.wallet
            for item in self._complete(self._ledgers.facts)
            if any(segment.source == CHECKPOINT for segment in item.segments)
        ]

    # -- the table ------------------------------------------------------------------------------

    def _load(self, wallets: Collection[str], *, force: Collection[str]) -> None:
        """Loads what is recorded, after deleting rows of `wallets` in another case."""
        self._engine.progress.begin("loading")
        self._engine.check()
        facts = self._ledgers.facts
        self._delete_mixed_case([item for item in wallets if facts[item].tally.mixed_case])
        checked = self._engine.load(force)
        if checked is not None:
            self.failed_checks = checked

    def _delete_unclaimed(self, unclaimed: Sequence[Facts]) -> None:
        """Deletes rows that we loaded for wallets that no ledger knows any more.

        Not if they outnumber the rows of recorded wallets: the table may be another store's.
        """
        rows = sum(facts.unclaimed for facts in unclaimed)
        known = sum(f.tally.ours for f in self._ledgers.facts.values() if f.record is not None)
        if rows > known:
            why = (
                f"the table has {counted(rows, 'row')} of {counted(len(unclaimed), 'wallet')} that"
                f" no ledger knows, and only {known:,} of recorded ones: is this the table of this"
                " store? If it is, delete them by hand (docs/reconciliation.md)"
            )
            self.failures += [Failure(facts.wallet, why) for facts in unclaimed]
            return
        self._engine.check()
        recorded = self._record.versions([facts.wallet for facts in unclaimed])
        wallets = [facts.wallet for facts in unclaimed if facts.wallet not in recorded]
        deleted = self._table.delete_loaded(wallets)
        self._say(
            f"{counted(deleted, 'row')} deleted of {counted(len(wallets), 'wallet')} that"
            " no ledger knows"
        )

    def _wrong_in_table(self, to_fetch: Collection[str]) -> set[str]:
        """The wallets whose rows in the table are not what was loaded.

        For wallets that are to be fetched and have no record, it is unknown what was loaded: all
        their rows are suspicious, in the table and in the batches.
        """
        loaded = self._loaded()
        wrong = set()
        for wallet, facts in self._ledgers.facts.items():
            recorded = facts.record.segments if facts.record else ()
            segments = self._recording.segments.get(wallet) or recorded
            held = loaded.get(wallet)
            rows = held.rows_before(claimed_until(facts))
            unknown = not segments and wallet in to_fetch and (facts.tally.rows or held.rows)
            if unknown or (segments and table_differs(facts, rows)):
                wrong.add(wallet)
        return wrong

    def _loaded(self) -> Holdings:
        """What the batches hold that are in the table."""
        batches = self._ledgers.batches
        if not self._ledgers.waiting:
            return batches.held
        loaded = {item.batch for item in batches.sound if item.batch in self._ledgers.loaded}
        return Holdings.of(read_manifests(self._store, loaded), self._store.feed.schema)

    def _delete_mixed_case(self, wallets: Collection[str]) -> None:
        """Deletes an older job's rows inside our claims whose address is in another case."""
        claims = {item.wallet: item.covered_until for item in self._complete(wallets)}
        if claims:
            deleted = self._table.delete_mixed_case(claims)
            self._say(f"{counted(deleted, 'row')} deleted whose address was not in lower case")

    # -- the checkpoint -------------------------------------------------------------------------

    def _mark_complete(self) -> None:
        """Marks complete wallets in the old job's checkpoint, if there is one."""
        known = self._ledgers.facts
        if not any(facts.has_checkpoint for facts in known.values()):
            return
        complete = self._record.versions()
        new = [item for item in complete if not (item in known and marked_complete(known[item]))]
        for start in range(0, len(new), _TICKS):
            chunk = new[start : start + _TICKS]
            self._engine.check()
            try:
                self._warehouse.mark_complete([self._tick(item) for item in self._complete(chunk)])
            except WarehouseError as error:
                why = f"the checkpoint could not be updated: {error}"
                self.failures += [Failure(wallet, why) for wallet in chunk]
            else:
                self._say(f"{counted(len(chunk), 'wallet')} marked complete in the checkpoint")

    def _tick(self, item: Record) -> Checkpoint:
        return Checkpoint(
            wallet_address=item.wallet,
            completed=True,
            processed_at=datetime.fromtimestamp(item.covered_until, UTC),
            trade_count=sum(segment.rows for segment in item.segments),
            gcs_file=self._store.uri(self._store.names.wallet(item.wallet)),
            upload_successful=True,
        )

    def _complete(self, wallets: Collection[str]) -> Iterator[Record]:
        """The records of those of `wallets` that are complete now.

        A record that cannot be read is a failure of its wallet.
        """
        versions = self._record.versions()
        complete = [item for item in wallets if item in versions]
        known = set(self.failures)
        for wallet, found in self._record.read(complete):
            if isinstance(found, Record):
                yield found
            elif (failure := Failure(wallet, str(found))) not in known:
                self.failures.append(failure)
