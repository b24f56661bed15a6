"""`trades`: the table. Batches are loaded in their order; each replaces what it claims."""

from datetime import timedelta

import dagster as dg

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.columns import TRADES_COLUMNS
from polycopy_assets.assets.load_events import loaded_metadata, loaded_version
from polycopy_assets.assets.pages import TABLE_PAGE
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import WAREHOUSE
from polycopy_assets.guard.working import working
from polycopy_assets.pipeline.load import load_batches
from polycopy_assets.pipeline.ports import LoadPorts
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource


@dg.asset(
    deps=["combined_trades"],
    pool=WAREHOUSE,
    # Batches of another schema are combined and loaded again.
    code_version=f"schema-{TRADES.schema}",
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
    *,
    progress: dg.ResourceParam[Progress],
    deadline: dg.ResourceParam[Deadline],
) -> dg.MaterializeResult:
    """Loads the batches that the table does not hold yet."""
    with failing_plainly(context), working(context, WAREHOUSE, progress, deadline) as permit:
        objects = store.open(context.instance)
        opened = warehouse.open_for(context.instance, objects, "trades", context.run.run_id)
        table = opened.table(objects.feed)
        record = FeedRecord(context.instance, objects.feed)
        report = load_batches(
            LoadPorts(
                record,
                objects,
                table,
                context.log,
                permit.check,
                warehouse.memory,
                progress.step,
            )
        )
        metadata = loaded_metadata(report, record, table)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(loaded_version(report.last_batch)), metadata=metadata
    )
