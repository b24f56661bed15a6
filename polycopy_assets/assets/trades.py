"""`trades`: the table. Batches are loaded in their order; each replaces what it claims."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from polycopy_assets import record
from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.busy import tried_again_if_busy
from polycopy_assets.assets.columns import TRADES_COLUMNS
from polycopy_assets.assets.combined_trades import RECORD
from polycopy_assets.assets.cost import cost_metadata
from polycopy_assets.charts import CHARTED_WALLETS, trades_chart
from polycopy_assets.combine import read_manifests
from polycopy_assets.errors import BatchBroken, WarehouseError
from polycopy_assets.identity import checked_table
from polycopy_assets.liveness import alive
from polycopy_assets.load import load, unloaded
from polycopy_assets.manifests import Broken, broken
from polycopy_assets.progress import Progress
from polycopy_assets.recombine import combine_new
from polycopy_assets.resources import StoreResource, WarehouseResource
from polycopy_assets.store.base import Store
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.turns import WAREHOUSE, turn
from polycopy_assets.warehouse.base import Loaded, Warehouse


@dg.asset(
    deps=["combined_trades"],
    pool=WAREHOUSE,
    group_name="trades",
    kinds={"table"},
    owners=OWNERS,
    description="Every trade of every wallet that is complete, once: the table `trades` of the "
    "warehouse. Inside what a batch claims, the table holds exactly the batch's rows.",
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
    with tried_again_if_busy(context):
        objects = store.open(context.instance)
        table = warehouse.open("trades", context.run.run_id)
        return _loaded(context, objects, table, progress)


def _loaded(
    context: dg.AssetExecutionContext, objects: Store, table: Warehouse, progress: Progress
) -> dg.MaterializeResult:
    inserted = deleted = batches = 0
    with alive(context), turn(context, WAREHOUSE, progress):
        checked_table(context.instance, objects, table)
        combined = _combined(context.instance)
        for manifest, loaded in _load_all(context, table, objects):
            batches += 1
            inserted += loaded.inserted
            deleted += loaded.deleted
            context.log.info(
                f"batch {manifest.batch}: {loaded.inserted:,} rows in, {loaded.deleted:,} rows out"
            )
        last = max(table.loaded_batches(), default=0)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"batches-{last}"),
        metadata={
            **combined,
            "dagster/row_count": table.count_rows(),
            "dagster/uri": table.uri,
            "dagster/table_name": "trades",
            "batches_loaded": batches,
            "rows_inserted": inserted,
            "rows_deleted": deleted,
            **_picture(context.instance, table),
            **cost_metadata(table.cost),
        },
    )


def _load_all(
    context: dg.AssetExecutionContext, table: Warehouse, store: Store
) -> Iterator[tuple[Manifest, Loaded]]:
    """Loads what the table lacks, batch by batch.

    A batch that turns out to be broken is set aside once its wallets are combined again, and the
    load goes on with what there is then. One that was made just for that is not tried twice.
    """
    manifests = read_manifests(store)
    before = {item.batch: item for item in manifests}
    found: dict[int, Broken] = {}
    while True:
        try:
            yield from load(table, manifests, store)
            break
        except BatchBroken as error:
            if error.batch in found or error.batch not in before:
                raise
            context.log.warning(f"{error}; it is combined again")
            found[error.batch] = broken(before[error.batch], error.why)
            manifests = combine_new(
                context.instance,
                store,
                table.loaded_batches(),
                context.log,
                broken=list(found.values()),
            ).manifests
    left = unloaded(manifests, table.loaded_batches())
    if left:
        raise WarehouseError(f"batch {left[0].batch} is loaded, and the table does not say so")


def _picture(instance: dg.DagsterInstance, table: Warehouse) -> dict[str, dg.MetadataValue]:
    """Trades by month, and wallets by size: what the table holds, for people.

    A handful of wallets is no picture.
    """
    sizes = list(record.rows(record.versions(instance)).values())
    if len(sizes) < CHARTED_WALLETS:
        return {}
    months, since = table.rows_by_month()
    largest = max(sizes)
    return {
        "trades_and_wallets": dg.MetadataValue.md(trades_chart(months, sizes)),
        "wallets": dg.MetadataValue.int(len(sizes)),
        "wallets_without_trades": dg.MetadataValue.int(sum(not size for size in sizes)),
        "largest_wallet_trades": dg.MetadataValue.int(largest),
        "months_shown": dg.MetadataValue.text(f"since {since:%Y-%m}" if since else "all"),
    }


def _combined(instance: dg.DagsterInstance) -> dict[str, dg.MetadataValue]:
    """Which state of the record the batches that are there hold, if a combine has told."""
    event = instance.get_latest_materialization_event(dg.AssetKey("combined_trades"))
    found = event.asset_materialization if event else None
    return {RECORD: found.metadata[RECORD]} if found and RECORD in found.metadata else {}
