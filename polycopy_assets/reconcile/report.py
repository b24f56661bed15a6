"""What a reconciliation comes to: looking, and, if asked to, acting and looking again."""

import time
from collections.abc import Mapping, Sequence
from itertools import islice

import dagster as dg
import msgspec

from polycopy_assets.ledger.facts import claimed_until
from polycopy_assets.ledger.findings import SETTLED, Finding, classify, count
from polycopy_assets.ledger.witness import Witnessed
from polycopy_assets.manifests import Broken
from polycopy_assets.reconcile.look import Ledgers, Refused, look
from polycopy_assets.reconcile.mend import Mender
from polycopy_assets.reconcile.recording import Say
from polycopy_assets.reconcile.witness import Comparison
from polycopy_assets.runs import Runs
from polycopy_assets.store.base import Store
from polycopy_assets.warehouse.base import Warehouse


class Failure(msgspec.Struct, frozen=True):
    """A wallet that could not be brought in order, and why."""

    wallet: str
    reason: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Every wallet's finding, as it was before anything was done about it.

    `refused` are texts in the ledgers that name no wallet; `covered` tells until when (epoch
    seconds) each wallet is covered that is covered at all. If the findings were acted on,
    `findings_left` are those of a second look, `failures` the wallets that could not be brought in
    order, and `failed_checks` what the checks of the table found. `broken` are the batches that are
    broken, after that look if there was one. `source` is what comparing with the source's own
    counts came to, if that was asked for.
    """

    counts: Mapping[str, int]
    findings: Sequence[Finding]
    refused: Sequence[Refused]
    covered: Sequence[int]
    applied: bool
    findings_left: Sequence[Finding]
    broken: Sequence[Broken]
    failures: Sequence[Failure]
    failed_checks: Sequence[str]
    seconds: float
    source: Witnessed | None = None

    @property
    def left(self) -> Mapping[str, int]:
        """How many wallets have each finding that is left."""
        return count(self.findings_left)

    def first_left(self, name: str, number: int) -> list[str]:
        """The first wallets that still have the finding `name`."""
        return list(islice((x.wallet for x in self.findings_left if x.finding == name), number))

    @property
    def clean(self) -> bool:
        """Whether nothing is left to do."""
        return not self.left.keys() - SETTLED and not self.broken

    @property
    def done(self) -> bool:
        """Whether nothing is left to do, and the source was compared with if that was asked for."""
        return self.clean and (self.source is None or self.source.done)


def reconcile(
    instance: dg.DagsterInstance,
    store: Store,
    warehouse: Warehouse,
    runs: Runs,
    *,
    adopt: str,
    verify: bool,
    apply: bool,
    say: Say,
    source: bool = False,
) -> Report:
    """Compares the ledgers under policy `adopt`; with `apply`, acts on what is found.

    Without `apply` nothing is changed. With `source` the source is asked for its own counts as
    well, and with both the wallets that differ are fetched in full. Raises PolycopyError if a
    ledger cannot be read.
    """
    started = time.monotonic()
    now = int(time.time())

    def compare(*, verify: bool) -> tuple[Ledgers, list[Finding]]:
        ledgers = look(
            instance,
            store,
            warehouse,
            adopt=adopt,
            verify=verify,
            progress=runs.progress,
            now=now,
        )
        every = ledgers.facts.values()
        return ledgers, [classify(facts, adopt=adopt, now=now) for facts in every]

    ledgers, findings = compare(verify=verify)
    left, failures, failed_checks = findings, [], []
    if apply and (ledgers.broken or any(item.finding not in SETTLED for item in findings)):
        mender = Mender(instance, store, warehouse, runs, ledgers, adopt=adopt, now=now, say=say)
        mender.act(findings)
        failed_checks = mender.failed_checks
        failures = [Failure(wallet, reason) for wallet, reason in mender.failures]
        ledgers, left = compare(verify=False)
    witnessed = None
    if source:
        comparison = Comparison(instance, store, warehouse, runs, now=now, say=say)
        comparison.ask()
        witnessed = comparison.found(left)
        if apply and comparison.refetch(witnessed.disagree):
            failed_checks = comparison.failed_checks or failed_checks
            ledgers, left = compare(verify=False)
            witnessed = comparison.found(left)
    return Report(
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
