"""`trades`: the table. Batches are loaded in their order; each replaces what it claims."""

import dagster as dg

from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.columns import TRADES_COLUMNS
from polycopy_assets.assets.cost import cost_metadata
from polycopy_assets.combine import read_manifests
from polycopy_assets.load import load
from polycopy_assets.resources import StoreResource, WarehouseResource


@dg.asset(
    deps=["combined_trades"],
    group_name="trades",
    kinds={"table"},
    owners=OWNERS,
    description="Every trade of every wallet that is complete, once: the table `trades` of the "
    "warehouse. Inside what a batch claims, the table holds exactly the batch's rows.",
    metadata={"dagster/column_schema": TRADES_COLUMNS},
)
def trades(
    context: dg.AssetExecutionContext, store: StoreResource, warehouse: WarehouseResource
) -> dg.MaterializeResult:
    """Loads the batches that the table does not hold yet."""
    objects, table = store.open(), warehouse.open("trades", context.run.run_id)
    manifests = read_manifests(objects)
    inserted = deleted = batches = 0
    for manifest, loaded in load(table, manifests, objects):
        batches += 1
        inserted += loaded.inserted
        deleted += loaded.deleted
        context.log.info(
            f"batch {manifest.batch}: {loaded.inserted:,} rows in, {loaded.deleted:,} rows out"
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"batches-{len(manifests)}"),
        metadata={
            "dagster/row_count": table.count_rows(),
            "dagster/uri": table.uri,
            "dagster/table_name": "trades",
            "batches_loaded": batches,
            "rows_inserted": inserted,
            "rows_deleted": deleted,
            **cost_metadata(table.cost),
        },
    )
