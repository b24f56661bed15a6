"""What the check of the reconciliation says: a sentence to read, and a table of the wallets."""

import dagster as dg

from polycopy_assets.checks.ledgers_agree import agreement
from polycopy_assets.ledger.findings import Finding
from polycopy_assets.ledger.kinds import FindingKind
from polycopy_assets.reconcile.report import ReconcileReport


def report(*kinds: FindingKind) -> ReconcileReport:
    """A report on a wallet of each of `kinds`, in their order."""
    found = [
        Finding(wallet=f"0x{number:040x}", finding=kind, action=kind.action)
        for number, kind in enumerate(kinds)
    ]
    return ReconcileReport(
        counts={},
        findings=found,
        refused=[],
        covered=[],
        applied=False,
        findings_left=found,
        broken=[],
        failures=[],
        failed_checks=[],
        seconds=1.0,
    )


def test_the_sentence_names_one_wallet_of_each_kind_and_the_table_the_first_five():
    ghosts, unloaded = [FindingKind.GHOST] * 7, [FindingKind.UNLOADED] * 2
    result = agreement(report(*ghosts, *unloaded, FindingKind.CONSISTENT))
    assert not result.passed
    assert result.description == (
        f"7 ghost (first 0x{0:040x}): recorded, but its data is gone, damaged or cannot be read;"
        f" 2 unloaded (first 0x{7:040x}): recorded and stored, but the table lacks rows"
    )
    table = result.metadata["trouble"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [dict(row.data) for row in table.records] == [
        {
            "finding": "ghost",
            "wallets": 7,
            "action": "refetch",
            "first": ", ".join(f"0x{number:040x}" for number in range(5)),
        },
        {
            "finding": "unloaded",
            "wallets": 2,
            "action": "reload",
            "first": f"0x{7:040x}, 0x{8:040x}",
        },
    ]


def test_without_trouble_there_is_no_table_and_no_advice():
    result = agreement(report(FindingKind.CONSISTENT, FindingKind.CONSISTENT))
    assert result.passed
    assert result.description == "2 wallets are in order"
    assert set(result.metadata) == {"wallets"}
