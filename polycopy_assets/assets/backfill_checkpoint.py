"""`backfill_checkpoint`: an older job's ledger, which is never trusted without evidence."""

import dagster as dg

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.beta import observed_tables
from polycopy_assets.assets.pages import MIGRATING_PAGE
from polycopy_assets.guard.heartbeat import heartbeat
from polycopy_assets.resources.embedded import WarehouseResource
from polycopy_assets.warehouse.feed_table import cost_metadata


@observed_tables(
    name="backfill_checkpoint",
    specs=[
        dg.AssetSpec(
            "backfill_checkpoint",
            description="The wallets that an older job marked complete, if there was one.\n\n"
            "The table `backfill_checkpoint` of the warehouse. A reconciliation that acts marks "
            "complete wallets there.\n\n" + MIGRATING_PAGE,
            group_name="wanted",
            kinds={"table"},
            owners=OWNERS,
            tags=TAGS,
            metadata={
                "dagster/column_schema": dg.TableSchema(
                    columns=[
                        dg.TableColumn("wallet_address", "string", "the wallet, in any case"),
                        dg.TableColumn("completed", "bool", "marked complete"),
                        dg.TableColumn("processed_at", "timestamp", "when it was marked"),
                        dg.TableColumn("trade_count", "int", "trades that the older job counted"),
                        dg.TableColumn("gcs_file", "string", "its file"),
                        dg.TableColumn(
                            "upload_successful", "bool", "whether the file was uploaded"
                        ),
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
    with heartbeat(context):
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
