"""`backfill_checkpoint`: the old job's ledger, which is never believed unproven."""

import dagster as dg

from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.cost import cost_metadata
from polycopy_assets.resources import WarehouseResource


@dg.multi_observable_source_asset(
    name="backfill_checkpoint",
    specs=[
        dg.AssetSpec(
            "backfill_checkpoint",
            description="What the old job ticked off: the table `backfill_checkpoint` of the "
            "warehouse, if there is one. A reconciliation that acts ticks off what is complete.",
            group_name="wanted",
            kinds={"table"},
            owners=OWNERS,
            metadata={
                "dagster/column_schema": dg.TableSchema(
                    columns=[
                        dg.TableColumn("wallet_address", "string", "the wallet, in any case"),
                        dg.TableColumn("completed", "bool", "ticked off"),
                        dg.TableColumn("processed_at", "timestamp", "when"),
                        dg.TableColumn("trade_count", "int", "trades that the old job counted"),
                        dg.TableColumn("gcs_file", "string", "its file"),
                        dg.TableColumn("upload_successful", "bool", "whether the file went up"),
                    ]
                )
            },
        )
    ],
)
def backfill_checkpoint(
    context: dg.AssetExecutionContext, warehouse: WarehouseResource
) -> dg.ObserveResult:
    """Counts what the old job says it has done; one query."""
    table = warehouse.open("backfill_checkpoint", context.run.run_id)
    rows = table.checkpoint()
    found = rows or []
    return dg.ObserveResult(
        asset_key="backfill_checkpoint",
        metadata={
            "table_exists": rows is not None,
            "dagster/row_count": len(found),
            "wallets": len({(row.wallet_address or "").strip().lower() for row in found}),
            "completed": sum(bool(row.completed) for row in found),
            "completed_without_upload": sum(
                bool(row.completed) and not row.upload_successful for row in found
            ),
            "trades": sum(max(row.trade_count or 0, 0) for row in found),
            **cost_metadata(table.cost),
        },
    )
