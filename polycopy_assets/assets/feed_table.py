"""`trades` and the same of each other feed: the table.

Batches are loaded in their order; each replaces what it claims.
"""

from datetime import timedelta
from functools import cache

import dagster as dg

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.columns import columns_of
from polycopy_assets.assets.load_events import loaded_metadata, loaded_version
from polycopy_assets.assets.pages import TABLE_PAGE
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import WAREHOUSE
from polycopy_assets.guard.working import working
from polycopy_assets.pipeline.load import load_batches
from polycopy_assets.pipeline.ports import LoadPorts
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource


@cache
def feed_table(feed: Feed) -> dg.AssetsDefinition:
    """The table of `feed`, as an asset."""
    keys = asset_keys(feed)

    @dg.asset(
        key=keys.table,
        deps=[keys.combined],
        pool=WAREHOUSE,
        # Batches of another schema are combined and loaded again.
        code_version=f"schema-{feed.schema}",
        group_name=feed.name,
        kinds={"table"},
        owners=OWNERS,
        tags=TAGS,
        description=f"Every {feed.row} of every complete wallet, once: the table "
        f"`{feed.table}`.\n\n"
        "Inside a batch's claims, the table holds exactly the batch's rows.\n\n" + TABLE_PAGE,
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=50), warn_window=timedelta(hours=26)
        ),
        metadata={"dagster/column_schema": columns_of(feed)},
    )
    def table(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        warehouse: WarehouseResource,
        *,
        progress: dg.ResourceParam[Progress],
        deadline: dg.ResourceParam[Deadline],
    ) -> dg.MaterializeResult:
        """Loads the batches that the table does not hold yet."""
        with failing_plainly(context), working(context, WAREHOUSE, progress, deadline) as permit:
            objects = store.open(context.instance, feed)
            opened = warehouse.open_for(context.instance, objects, feed.table, context.run.run_id)
            rows = opened.table(feed)
            record = FeedRecord(context.instance, feed)
            report = load_batches(
                LoadPorts(
                    record,
                    objects,
                    rows,
                    context.log,
                    permit.check,
                    warehouse.memory,
                    progress.step,
                )
            )
            metadata = loaded_metadata(report, record, rows)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(loaded_version(report.last_batch)), metadata=metadata
        )

    return table
