"""A reconciliation: reads the ledgers and, if asked to, acts and reads again."""

import time

import dagster as dg

from polycopy_assets.ledger.facts import claimed_until
from polycopy_assets.ledger.findings import Finding, classify, count
from polycopy_assets.ledger.kinds import Adopt
from polycopy_assets.reconcile.compare_counts import Comparison
from polycopy_assets.reconcile.engine import Engine
from polycopy_assets.reconcile.read_ledgers import Ledgers, read_ledgers
from polycopy_assets.reconcile.recording import Say
from polycopy_assets.reconcile.repair import Repair
from polycopy_assets.reconcile.report import ReconcileReport
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.warehouse.base import Warehouse


def reconcile(
    instance: dg.DagsterInstance,
    store: FeedStore,
    warehouse: Warehouse,
    engine: Engine,
    *,
    adopt: Adopt,
    verify: bool,
    apply: bool,
    say: Say,
    source: bool = False,
) -> ReconcileReport:
    """Compares the ledgers under policy `adopt`; with `apply`, acts on what is found.

    Without `apply` nothing is changed. With `source` the source is asked for its own counts as
    well, and with both the wallets that differ are fetched in full. Raises PolycopyError if a
    ledger cannot be read.
    """
    started = time.monotonic()
    now = int(time.time())

    def compare(*, verify: bool) -> tuple[Ledgers, list[Finding]]:
        ledgers = read_ledgers(
            instance,
            store,
            warehouse,
            adopt=adopt,
            verify=verify,
            progress=engine.progress,
            now=now,
        )
        every = ledgers.facts.values()
        return ledgers, [classify(facts, adopt=adopt, now=now) for facts in every]

    ledgers, findings = compare(verify=verify)
    left, failures, failed_checks = findings, [], []
    if apply and (ledgers.broken or not all(item.finding.settled for item in findings)):
        repair = Repair(instance, store, warehouse, engine, ledgers, adopt=adopt, now=now, say=say)
        repair.act(findings)
        failed_checks = repair.failed_checks
        failures = repair.failures
        ledgers, left = compare(verify=False)
    witnessed = None
    if source:
        comparison = Comparison(FeedRecord(instance, store.feed), engine, now=now, say=say)
        comparison.ask()
        witnessed = comparison.found(left)
        if apply and comparison.refetch(witnessed.disagree):
            failed_checks = comparison.failed_checks or failed_checks
            ledgers, left = compare(verify=False)
            witnessed = comparison.found(left)
    return ReconcileReport(
        counts=count(findings),
        findings=findings,
        refused=ledgers.refused,
        covered=[until for item in ledgers.facts.values() if (until := claimed_until(item))],
        applied=apply,
        findings_left=left,
        broken=ledgers.broken,
        failures=failures,
        failed_checks=failed_checks,
        seconds=round(time.monotonic() - started, 3),
        source=witnessed,
    )
