"""The report of a reconciliation: what was found, what was done, and what is left."""

from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec

from polycopy_assets.batches.manifests import Broken
from polycopy_assets.ledger.failure import Failure
from polycopy_assets.ledger.findings import Finding, count
from polycopy_assets.ledger.kinds import FindingKind
from polycopy_assets.ledger.source_counts import Witnessed
from polycopy_assets.reconcile.read_ledgers import Refused


class ReconcileReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every wallet's finding, as it was before any action.

    `refused` are texts in the ledgers that name no wallet; `covered` says until when (epoch
    seconds) each covered wallet is covered. If the findings were acted on, `findings_left` are
    those of a second reading, `failures` the wallets that could not be repaired, and
    `failed_checks` what the checks of the table found. `broken` are the broken batches, after the
    second reading if there was one. `source` is the result of comparing with the source's own
    counts, if that was asked for.
    """

    counts: Mapping[FindingKind, int]
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
    def left(self) -> Mapping[FindingKind, int]:
        """How many wallets have each finding that is left."""
        return count(self.findings_left)

    def first_left(self, kind: FindingKind, number: int) -> list[str]:
        """The first wallets that still have a finding of that kind."""
        return list(islice((x.wallet for x in self.findings_left if x.finding is kind), number))

    @property
    def clean(self) -> bool:
        """Whether nothing is left to do."""
        return not self.broken and all(kind.settled for kind in self.left)

    @property
    def done(self) -> bool:
        """Whether nothing is left to do, including the comparison with the source if asked for."""
        return self.clean and (self.source is None or self.source.done)
