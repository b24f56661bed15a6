"""`trades`: the table. Batches are loaded in their order; each replaces what it claims."""

from datetime import timedelta

import dagster as dg

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.columns import TRADES_COLUMNS
from polycopy_assets.assets.load_events import loaded_metadata, loaded_version
from polycopy_assets.assets.pages import TABLE_PAGE
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import WAREHOUSE
from polycopy_assets.guard.working import working
from polycopy_assets.pipeline.load import load_batches
from polycopy_assets.pipeline.ports import LoadPorts
from polycopy_assets.record.reader import DagsterRecords
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource
from polycopy_assets.trades.batch import SCHEMA


@dg.asset(
    deps=["combined_trades"],
    pool=WAREHOUSE,
    # Batches of another schema are combined and loaded again.
    code_version=f"schema-{SCHEMA}",
    group_name="trades",
    kinds={"table"},
    owners=OWNERS,
    tags=TAGS,
    description="Every trade of every complete wallet, once: the table `trades`.\n\n"
    "Inside a batch's claims, the table holds exactly the batch's rows.\n\n" + TABLE_PAGE,
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=50), warn_window=timedelta(hours=26)
    ),
    metadata={"dagster/column_schema": TRADES_COLUMNS},
)
def trades(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    warehouse: WarehouseResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """Loads the batches that the table does not hold yet."""
    with failing_plainly(context), working(context, WAREHOUSE, progress) as permit:
        objects = store.open(context.instance)
        table = warehouse.open_for(context.instance, objects, "trades", context.run.run_id)
        records = DagsterRecords(context.instance)
        report = load_batches(
            LoadPorts(
                records,
                objects,
                table,
                context.log,
                permit.check,
                warehouse.memory,
                progress.step,
            )
        )
        metadata = loaded_metadata(report, context.instance, table)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(loaded_version(report.last_batch)), metadata=metadata
    )
