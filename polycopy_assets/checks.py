"""Checks of the table: what is wrong right now, with the first wallets by name."""

from collections.abc import Mapping

import dagster as dg

from polycopy_assets import record
from polycopy_assets.assets.cost import cost_metadata
from polycopy_assets.resources import WarehouseResource

NAMED = 20


@dg.asset_check(asset="trades", description="No (wallet_address, id) occurs twice.")
def no_duplicate_ids(
    context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource
) -> dg.AssetCheckResult:
    """Fails with the first trades that the table holds more than once.

    Where looking costs money it looks at as many of the newest months as a small amount allows.
    """
    table = warehouse.open("trades", context.run.run_id)
    found, since = table.duplicates(NAMED)
    where = f" since {since:%Y-%m-%d}" if since else ""
    return dg.AssetCheckResult(
        passed=not found,
        metadata={
            "first": dg.MetadataValue.json([list(item) for item in found]),
            "looked_at": f"trades{where}" if where else "the whole table",
            **cost_metadata(table.cost),
        },
        description=(
            f"{len(found)} or more ids occur twice" if found else f"every id{where} occurs once"
        ),
    )


@dg.asset_check(
    asset="trades",
    additional_deps=[record.WALLET_TRADES],
    description="For every recorded wallet the table has as many rows as the record.",
)
def rows_match_record(
    context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource
) -> dg.AssetCheckResult:
    """Fails with the first wallets whose rows in the table are not those of the record.

    Where counting costs money, and table and record have the same number of rows altogether, that
    is enough. Rows outside of what the record covers are another writer's, and none of our matter:
    wallets that seem to differ are counted again without them.
    """
    recorded = record.rows(record.versions(context.instance))
    table = warehouse.open("trades", context.run.run_id)
    if table.cost is not None and table.count_rows() == sum(recorded.values()):
        return dg.AssetCheckResult(
            passed=True,
            metadata={
                "wallets": len(recorded),
                "compared": "all rows together",
                **cost_metadata(table.cost),
            },
            description=f"{sum(recorded.values())} rows in the record and in the table",
        )
    counted = table.rows_by_wallet()
    wrong = differences(recorded, counted)
    if wrong:
        found = record.records(context.instance, [wallet for wallet, _, _ in wrong])
        tallied = table.tally({item.wallet: item.covered_until for item in found})
        inside = {wallet: tally.inside for wallet, tally in tallied if wallet}
        wrong = differences({wallet: want for wallet, want, _ in wrong}, inside)
    return dg.AssetCheckResult(
        passed=not wrong,
        metadata={
            "wallets": len(recorded),
            "compared": "wallet by wallet",
            "wallets_that_differ": len(wrong),
            "rows_of_other_wallets": sum(n for w, n in counted.items() if w not in recorded),
            "first": dg.MetadataValue.json(
                [
                    {"wallet": wallet, "record": want, "table": have}
                    for wallet, want, have in wrong[:NAMED]
                ]
            ),
            **cost_metadata(table.cost),
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
