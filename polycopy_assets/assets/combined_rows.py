"""`combined_trades` and the same of each other feed: recorded rows as batches of Parquet.

They are made of what is recorded and in no batch yet.
"""

from functools import cache

import dagster as dg
from pydantic import Field

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.columns import columns_of
from polycopy_assets.assets.load_events import (
    BATCHES_HOLD,
    RECORD_HAS_ITS_DATA,
    check_of_batches,
    check_of_record,
    combined_metadata,
    combined_version,
)
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import WAREHOUSE
from polycopy_assets.guard.working import working
from polycopy_assets.pipeline.combine import combine_new
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource


class CombineConfig(dg.Config):
    """Which wallets to combine again, besides what is new."""

    force: list[str] = Field(
        default=[],
        description="Wallets to combine again in full, so that loading corrects their rows in the "
        "table.",
    )
    again: list[str] = Field(default=[], description="The older name of `force`; both count.")


@cache
def combined_rows(feed: Feed) -> dg.AssetsDefinition:
    """The batches of `feed`, as an asset."""
    keys = asset_keys(feed)

    @dg.asset(
        key=keys.combined,
        deps=[keys.wallets],
        pool=WAREHOUSE,
        # Batches of another schema are combined and loaded again.
        code_version=f"schema-{feed.schema}",
        group_name=feed.name,
        kinds={"polars", "parquet"},
        owners=OWNERS,
        tags=TAGS,
        description=f"Turns recorded {feed.rows} that no batch holds yet into batches of sorted "
        "Parquet.\n\n"
        "A batch has a manifest that lists every segment. Work grows with what is new.\n\n"
        "More: docs/formats.md, 'Manifests'.",
        metadata={"dagster/column_schema": columns_of(feed)},
        check_specs=[
            dg.AssetCheckSpec(
                RECORD_HAS_ITS_DATA,
                asset=keys.combined,
                description="Every newly recorded segment is in the store, unchanged.",
            ),
            dg.AssetCheckSpec(
                BATCHES_HOLD,
                asset=keys.combined,
                description="Every broken batch that was found has been set aside.",
            ),
        ],
    )
    def combined(
        context: dg.AssetExecutionContext,
        config: CombineConfig,
        store: StoreResource,
        warehouse: WarehouseResource,
        *,
        progress: dg.ResourceParam[Progress],
        deadline: dg.ResourceParam[Deadline],
    ) -> dg.MaterializeResult:
        """Commits what is new as batches of bounded size, or none if nothing is new."""
        with failing_plainly(context), working(context, WAREHOUSE, progress, deadline) as permit:
            objects = store.open(context.instance, feed)
            run_id = context.run.run_id
            opened = warehouse.open_for(context.instance, objects, feed.assets.combined, run_id)
            found = combine_new(
                FeedRecord(context.instance, feed),
                objects,
                opened.table(feed).loaded_batches(),
                context.log,
                permit.check,
                force=frozenset([*config.force, *config.again]),
                memory=warehouse.memory,
                step=progress.step,
            )
        return dg.MaterializeResult(
            data_version=dg.DataVersion(combined_version(found)),
            metadata=combined_metadata(found, objects),
            check_results=[
                check_of_record(feed, found.lost),
                check_of_batches(feed, found),
            ],
        )

    return combined
