"""The check of the reconciliation, which its step computes: record, store and table agree."""

from collections.abc import Mapping

import dagster as dg

from polycopy_assets.checks.shown import shown
from polycopy_assets.ledger.kinds import FindingKind
from polycopy_assets.reconcile.report import ReconcileReport
from polycopy_assets.text import counted, first_lines

CHECK = "ledgers_agree"
NAMED = 5
_TO_DO = "see docs/reconciliation.md; `polycopy reconcile --apply` acts on them"


def agreement(report: ReconcileReport) -> dg.AssetCheckResult:
    """The result: passed if nothing is left to do, else what is and for which wallets."""
    trouble = {kind: n for kind, n in report.left.items() if not kind.settled}
    told = "; ".join(
        f"{wallets} {kind} (first {report.first_left(kind, 1)[0]}): {kind.meaning}"
        for kind, wallets in trouble.items()
    )
    checks = "; ".join(report.failed_checks)
    broken = [f"{item.name} is broken: {item.why}" for item in report.broken]
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=report.clean,
        metadata={
            "wallets": len(report.findings),
            **shown("trouble", _trouble(report, trouble)),
            **({} if report.clean else {"what_to_do": dg.MetadataValue.text(_TO_DO)}),
        },
        description="; ".join(part for part in (told, *first_lines(broken, NAMED), checks) if part)
        or in_order(report),
    )


def in_order(report: ReconcileReport) -> str:
    """How many wallets were compared, in words: for a report in which nothing is left."""
    return f"{counted(len(report.findings), 'wallet is', 'wallets are')} in order"


def _trouble(report: ReconcileReport, kinds: Mapping[FindingKind, int]) -> dg.TableMetadataValue:
    """What is left to do, and for which wallets: the description names one of each kind alone."""
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "finding": kind.value,
                    "wallets": wallets,
                    "action": kind.action.value,
                    "first": ", ".join(report.first_left(kind, NAMED)),
                }
            )
            for kind, wallets in kinds.items()
        ],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn("finding", "string"),
                dg.TableColumn("wallets", "int"),
                dg.TableColumn("action", "string", "what --apply does"),
                dg.TableColumn("first", "string", "the first wallets"),
            ]
        ),
    )
