"""`combined_trades`: recorded trades that no batch holds yet, as batches of Parquet."""

import dagster as dg
from pydantic import Field

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.columns import TRADES_COLUMNS
from polycopy_assets.assets.load_events import (
    BATCHES_HOLD,
    RECORD_HAS_ITS_DATA,
    check_of_batches,
    check_of_record,
    combined_metadata,
    combined_version,
)
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.feeds.trades.feed import TRADES
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


@dg.asset(
    deps=[asset_keys(TRADES).wallets],
    pool=WAREHOUSE,
    # Batches of another schema are combined and loaded again.
    code_version=f"schema-{TRADES.schema}",
    group_name="trades",
    kinds={"polars", "parquet"},
    owners=OWNERS,
    tags=TAGS,
    description="Turns recorded trades that no batch holds yet into batches of sorted Parquet.\n\n"
    "A batch has a manifest that lists every segment. Work grows with what is new.\n\n"
    "More: docs/formats.md, 'Manifests'.",
    metadata={"dagster/column_schema": TRADES_COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            RECORD_HAS_ITS_DATA,
            asset="combined_trades",
            description="Every newly recorded segment is in the store, unchanged.",
        ),
        dg.AssetCheckSpec(
            BATCHES_HOLD,
            asset="combined_trades",
            description="Every broken batch that was found has been set aside.",
        ),
    ],
)
def combined_trades(
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
        objects = store.open(context.instance)
        run_id = context.run.run_id
        opened = warehouse.open_for(context.instance, objects, "combined_trades", run_id)
        found = combine_new(
            FeedRecord(context.instance, objects.feed),
            objects,
            opened.table(objects.feed).loaded_batches(),
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
            check_of_record(objects.feed, found.lost),
            check_of_batches(objects.feed, found),
        ],
    )
