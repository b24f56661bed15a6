"""The source's own counts, as a step of a reconciliation: asked for, compared, acted on."""

from collections.abc import Iterable

import dagster as dg

from polycopy_assets import counts, record
from polycopy_assets.ledger.findings import Finding
from polycopy_assets.ledger.witness import Count, Witnessed, summed_up
from polycopy_assets.reconcile.recording import Say
from polycopy_assets.runs import Runs
from polycopy_assets.store.base import Store
from polycopy_assets.warehouse.base import Warehouse

AGREED = frozenset({"consistent", "unexported"})
"""Findings of wallets that are recorded, stored and in the table alike."""


class Comparison:
    """Compares the source's counts with what is stored; `now` in epoch seconds.

    `failed_checks` is what the checks of the table found after a full refetch; None if nothing
    was loaded.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        store: Store,
        warehouse: Warehouse,
        runs: Runs,
        *,
        now: int,
        say: Say,
    ) -> None:
        self._instance = instance
        self._store = store
        self._warehouse = warehouse
        self._runs = runs
        self._now = now
        self._say = say
        self._refetched: list[str] = []
        self._not_refetched: list[tuple[str, str]] = []
        self.failed_checks: list[str] | None = None

    def ask(self) -> None:
        """Asks for the count of every complete wallet that was not asked for lately."""
        self._runs.count(self._instance, select="due")

    def refetch(self, differing: Iterable[Count]) -> bool:
        """Fetches wallets that differ in full, loads them, compares again; whether there were any.

        Those that a full refetch did not help before are left alone.
        """
        wallets = sorted(count.wallet for count in differing if count.to_refetch(self._now))
        if not wallets:
            return False
        self._say(f"{len(wallets):,} wallets differ from the source's count: fetching in full")
        failures = self._runs.progress.failures
        before = len(failures)
        self._runs.fetch(self._instance, wallets=wallets, mode="full")
        failed = dict(failures[before:])
        self._not_refetched += failed.items()
        fetched = [wallet for wallet in wallets if wallet not in failed]
        self._refetched += fetched
        self._runs.progress.begin("loading")
        checked = self._runs.load(self._instance, self._store, self._warehouse)
        if checked is not None:
            self.failed_checks = checked
        if fetched:
            self._runs.count(self._instance, wallets=fetched, refetched=True)
        return True

    def found(self, findings: Iterable[Finding]) -> Witnessed:
        """What the counts come to for the wallets whose `findings` say that their ledgers agree."""
        every = list(findings)
        versions = record.versions(self._instance)
        settled = {
            item.wallet: versions[item.wallet]
            for item in every
            if item.finding in AGREED and item.wallet in versions
        }
        return summed_up(
            settled,
            counts.latest(self._instance),
            counts.failures(self._instance),
            wallets=len(every),
            now=self._now,
            refetched=self._refetched,
            not_refetched=self._not_refetched,
        )
