"""Checks of the table: what is wrong right now, with the first wallets by name."""

from collections.abc import Mapping

import dagster as dg

from polycopy_assets import record
from polycopy_assets.resources import WarehouseResource

NAMED = 20


@dg.asset_check(asset="trades", description="No (wallet_address, id) occurs twice.")
def no_duplicate_ids(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """Fails with the first trades that the table holds more than once."""
    found = warehouse.open().duplicates(NAMED)
    return dg.AssetCheckResult(
        passed=not found,
        metadata={"first": dg.MetadataValue.json([list(item) for item in found])},
        description=f"{len(found)} or more ids occur twice" if found else "every id occurs once",
    )


@dg.asset_check(
    asset="trades",
    additional_deps=[record.WALLET_TRADES],
    description="For every recorded wallet the table has as many rows as the record.",
)
def rows_match_record(
    context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource
) -> dg.AssetCheckResult:
    """Fails with the first wallets whose rows in the table are not those of the record."""
    recorded = record.rows(record.versions(context.instance))
    table = warehouse.open().rows_by_wallet()
    wrong = differences(recorded, table)
    return dg.AssetCheckResult(
        passed=not wrong,
        metadata={
            "wallets": len(recorded),
            "wallets_that_differ": len(wrong),
            "rows_of_other_wallets": sum(n for w, n in table.items() if w not in recorded),
            "first": dg.MetadataValue.json(
                [
                    {"wallet": wallet, "record": want, "table": have}
                    for wallet, want, have in wrong[:NAMED]
                ]
            ),
        },
        description=(
            f"{len(wrong)} wallets differ, first {wrong[0][0]}: "
            f"{wrong[0][1]} rows in the record, {wrong[0][2]} in the table"
            if wrong
            else f"{len(recorded)} wallets agree"
        ),
    )


def differences(
    recorded: Mapping[str, int], table: Mapping[str, int]
) -> list[tuple[str, int, int]]:
    """(wallet, rows recorded, rows in the table) where the two differ, sorted by wallet."""
    return [
        (wallet, rows, table.get(wallet, 0))
        for wallet, rows in sorted(recorded.items())
        if table.get(wallet, 0) != rows
    ]
