"""Acting on findings: each step makes one ledger follow the facts, and can be killed anywhere.

The order is that of the data: what is in the store is recorded and loaded, what is missing is
fetched and loaded, and last the old job's checkpoint is told. A step that was killed left facts
behind that the next reconciliation finds again.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg

from polycopy_assets import record, refetching
from polycopy_assets.combine import identity
from polycopy_assets.errors import PolycopyError, WarehouseError
from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.stored import set_aside
from polycopy_assets.ledger.evidence import ticked_off
from polycopy_assets.ledger.facts import Checkpoint, Facts, doubtful
from polycopy_assets.ledger.findings import SETTLED, Finding, table_differs
from polycopy_assets.partitions import register
from polycopy_assets.reconcile.look import Ledgers
from polycopy_assets.reconcile.recording import Recording, Say
from polycopy_assets.runs import Runs
from polycopy_assets.store.base import Store
from polycopy_assets.trades.batch import claim
from polycopy_assets.trades.old_job import CHECKPOINT
from polycopy_assets.trades.segment import segment_name, wallet_prefix
from polycopy_assets.warehouse.base import Warehouse

LACKING = ("ahead", "false_complete", "empty_complete", "behind")
"""Findings of wallets that the source has to be asked for, besides those that recording finds."""

_TICKS = 10_000


class Mender:
    """Acts on the findings of one look at the ledgers, under policy `adopt`.

    `failures` are (wallet, reason); `failed_checks` what the checks of the table found last.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: Store,
        warehouse: Warehouse,
        runs: Runs,
        ledgers: Ledgers,
        *,
        adopt: str,
        now: int,
        say: Say,
    ) -> None:
        self._instance = instance
        self._store = store
        self._warehouse = warehouse
        self._runs = runs
        self._ledgers = ledgers
        self._refetch = adopt == "refetch"
        self._say = say
        self._recording = Recording(instance, store, ledgers, runs.progress, now=now, say=say)
        self.failures: list[tuple[str, str]] = []
        self.failed_checks: list[str] = []

    def act(self, findings: Iterable[Finding]) -> None:
        """Takes the action of every finding.

        A wallet that cannot be brought in order is a failure, and holds back no other. Raises
        PolycopyError if something other than a wallet fails.
        """
        acting = [item for item in findings if item.finding not in SETTLED]
        of: dict[str, list[Facts]] = {}
        for item in acting:
            of.setdefault(item.finding, []).append(self._ledgers.facts[item.wallet])
        unclaimed = of.pop("unclaimed", [])
        register(self._instance, (facts.wallet for every in of.values() for facts in every))
        recording = self._recording
        self._set_markers_aside()
        self._replace_doubtful(of.get("ahead", []))
        recording.take_back(of.get("ghost", []))
        recording.record_stored(of.get("orphan", []))
        recording.adopt(of.get("adoptable", []))
        self.failures += recording.failures
        lacking = [item for name in LACKING for item in of.get(name, [])]
        to_fetch = recording.to_fetch | {item.wallet for item in lacking} | self._to_refetch()
        wrong = self._wrong_in_table(to_fetch) | self._ledgers.again
        self._load(self._ledgers.facts.keys() - to_fetch, again=wrong - to_fetch)
        self._fetch(to_fetch)
        self._load(to_fetch, again=wrong & to_fetch)
        if self._refetch:
            self._fetch(self._adopted(), mode="full")
            self._load((), again=())
        self._tick_off()
        if unclaimed:
            self._delete_unclaimed(unclaimed)

    def _set_markers_aside(self) -> None:
        """Takes markers that cannot be followed out of the way.

        Without its marker all segments of a wallet count, which is no harm.
        """
        for facts in self._ledgers.facts.values():
            if facts.marker_damaged:
                with self._failing(facts):
                    set_aside(self._store, refetch.marker_name(facts.wallet))
                    self._say(f"{facts.wallet}: {facts.marker_damaged}; it is set aside")

    def _replace_doubtful(self, ahead: Sequence[Facts]) -> None:
        """Marks the segments that reach too far as to be replaced by the fetch that follows."""
        if ahead:
            refetching.note_marked(self._instance, (facts.wallet for facts in ahead))
        for facts in ahead:
            names = [segment_name(facts.wallet, span) for span in doubtful(facts)]
            with self._failing(facts):
                refetch.begin(self._store, facts.wallet, names)
                self._say(f"{facts.wallet}: {len(names)} segments reach too far, and are replaced")

    def _to_refetch(self) -> set[str]:
        """Ends the full refetches whose new segments are recorded; the wallets of the others."""
        left = {wallet for wallet, facts in self._ledgers.facts.items() if facts.refetching}
        for wallet in sorted(left):
            facts = self._ledgers.facts[wallet]
            old = {segment_name(wallet, item.span) for item in facts.replaced}
            recorded = self._recording.segments.get(wallet) or (
                facts.record.segments if facts.record else ()
            )
            if old and recorded and not old & {segment.name for segment in recorded}:
                left.discard(wallet)
                with self._failing(facts):
                    refetch.finish(self._store, wallet, old)
                    refetching.end(self._instance, wallet)
        return left

    @contextmanager
    def _failing(self, facts: Facts) -> Iterator[None]:
        """Makes an error of ours the failure of one wallet."""
        try:
            yield
        except PolycopyError as error:
            self.failures.append((facts.wallet, str(error)))

    def _fetch(self, wallets: Collection[str], **config: str) -> None:
        if wallets:
            before = len(self._runs.progress.failures)
            self._runs.fetch(self._instance, wallets=sorted(wallets), **config)
            self.failures += self._runs.progress.failures[before:]

    def _adopted(self) -> list[str]:
        """The wallets whose record names segments from the old job."""
        return [
            item.wallet
            for item in self._complete(self._ledgers.facts)
            if any(segment.source == CHECKPOINT for segment in item.segments)
        ]

    # -- the table ------------------------------------------------------------------------------

    def _load(self, wallets: Collection[str], *, again: Collection[str]) -> None:
        """Loads what is recorded, once rows of `wallets` in another case are out of the way."""
        self._runs.progress.begin("loading")
        facts = self._ledgers.facts
        self._delete_misspelled([item for item in wallets if facts[item].tally.misspelled])
        checked = self._runs.load(self._instance, self._store, self._warehouse, again=again)
        if checked is not None:
            self.failed_checks = checked

    def _delete_unclaimed(self, unclaimed: Sequence[Facts]) -> None:
        """Deletes rows that we loaded, of wallets that nothing knows any more.

        Not if they are more than those of recorded wallets: then the table may be another store's.
        """
        rows = sum(facts.unclaimed for facts in unclaimed)
        known = sum(f.tally.ours for f in self._ledgers.facts.values() if f.record is not None)
        if rows > known:
            why = (
                f"{rows:,} rows of {len(unclaimed):,} wallets that nothing knows are more than the"
                f" {known:,} of recorded wallets: is this the table of this store? If it is,"
                " delete them by hand (docs/reconciliation.md)"
            )
            self.failures += [(facts.wallet, why) for facts in unclaimed]
            return
        recorded = record.versions(self._instance, [facts.wallet for facts in unclaimed])
        wallets = [facts.wallet for facts in unclaimed if facts.wallet not in recorded]
        deleted = self._warehouse.delete_loaded(wallets)
        self._say(f"{deleted:,} rows deleted of {len(wallets):,} wallets that nothing knows")

    def _wrong_in_table(self, to_fetch: Collection[str]) -> set[str]:
        """The wallets of which the table does not hold what was loaded of them.

        Of those that are to be fetched and were not recorded nobody knows what was loaded: any
        rows are suspicious.
        """
        loaded = {
            identity(item)
            for manifest in self._ledgers.manifests
            if manifest.batch in self._ledgers.loaded
            for item in manifest.claims
        }
        wrong = set()
        for wallet, facts in self._ledgers.facts.items():
            recorded = facts.record.segments if facts.record else ()
            segments = self._recording.segments.get(wallet) or recorded
            rows = sum(item.rows for item in segments if identity(claim(item, "")) in loaded)
            unknown = not segments and wallet in to_fetch
            if (segments and table_differs(facts, rows)) or (unknown and facts.tally.rows):
                wrong.add(wallet)
        return wrong

    def _delete_misspelled(self, wallets: Collection[str]) -> None:
        """Deletes what an older job put inside our claims under an address in another case."""
        claims = {item.wallet: item.covered_until for item in self._complete(wallets)}
        if claims:
            deleted = self._warehouse.delete_misspelled(claims)
            self._say(f"{deleted:,} rows deleted whose address was not in lower case")

    # -- the checkpoint -------------------------------------------------------------------------

    def _tick_off(self) -> None:
        """Tells the old job's checkpoint, if there is one, which wallets are complete."""
        known = self._ledgers.facts
        if not any(facts.ticked_here for facts in known.values()):
            return
        complete = record.versions(self._instance)
        new = [item for item in complete if not (item in known and ticked_off(known[item]))]
        for start in range(0, len(new), _TICKS):
            chunk = new[start : start + _TICKS]
            try:
                self._warehouse.tick_off([self._tick(item) for item in self._complete(chunk)])
            except WarehouseError as error:
                why = f"the checkpoint could not be told: {error}"
                self.failures += [(wallet, why) for wallet in chunk]
            else:
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
        """The records of those of `wallets` that are complete now.

        One that cannot be read is its wallet's failure.
        """
        versions = record.versions(self._instance)
        complete = [item for item in wallets if item in versions]
        illegible: dict[str, PolycopyError] = {}
        yield from record.records(self._instance, complete, illegible)
        known = set(self.failures)
        told = [(wallet, str(error)) for wallet, error in illegible.items()]
        self.failures += [item for item in told if item not in known]
