"""The source's own counts, as a step of a reconciliation: requested, compared, acted on."""

from collections.abc import Iterable

from polycopy_assets.ledger.failure import Failure
from polycopy_assets.ledger.findings import Finding
from polycopy_assets.ledger.kinds import FindingKind
from polycopy_assets.ledger.source_counts import Count, Witnessed, summed_up
from polycopy_assets.reconcile.engine import Engine
from polycopy_assets.reconcile.recording import Say
from polycopy_assets.record import counts
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.text import counted

AGREED = frozenset({FindingKind.CONSISTENT, FindingKind.UNEXPORTED})
"""Findings of wallets that are recorded, stored and in the table alike."""


class Comparison:
    """Compares the source's counts with what is stored; `now` in epoch seconds.

    `failed_checks` is what the checks of the table found after a full refetch; None if nothing
    was loaded.
    """

    def __init__(
        self,
        record: FeedRecord,
        engine: Engine,
        *,
        now: int,
        say: Say,
    ) -> None:
        self._record = record
        self._engine = engine
        self._now = now
        self._say = say
        self._refetched: list[str] = []
        self._not_refetched: list[Failure] = []
        self.failed_checks: list[str] | None = None

    def ask(self) -> None:
        """Requests the count of every complete wallet that was not requested recently."""
        self._engine.count()

    def refetch(self, differing: Iterable[Count]) -> bool:
        """Fetches differing wallets in full, loads them, compares again; whether there were any.

        Wallets for which an earlier full refetch did not help are not fetched again.
        """
        wallets = sorted(count.wallet for count in differing if count.to_refetch(self._now))
        if not wallets:
            return False
        self._say(
            f"{counted(len(wallets), 'wallet differs', 'wallets differ')} from the source's count:"
            " fetching in full"
        )
        report = self._engine.fetch(wallets, full=True)
        failed = {each.wallet for each in report.failures}
        self._not_refetched += [each.plain for each in report.failures]
        fetched = [wallet for wallet in wallets if wallet not in failed]
        self._refetched += fetched
        self._engine.progress.begin("loading")
        checked = self._engine.load()
        if checked is not None:
            self.failed_checks = checked
        if fetched:
            self._engine.count(fetched, refetched=True)
        return True

    def found(self, findings: Iterable[Finding]) -> Witnessed:
        """Sums up the counts of the wallets whose `findings` say that their ledgers agree."""
        every = list(findings)
        versions = self._record.versions()
        settled = {
            item.wallet: versions[item.wallet]
            for item in every
            if item.finding in AGREED and item.wallet in versions
        }
        return summed_up(
            settled,
            counts.latest(self._record),
            counts.failures(self._record),
            wallets=len(every),
            now=self._now,
            refetched=self._refetched,
            not_refetched=self._not_refetched,
        )
