"""`source_counts`: how many trades of a wallet the source counts, and how many the table holds.

Like `wallet_trades` it records each wallet at once, and has no output, so that a killed run keeps
its results.
"""

from collections.abc import Iterator

import dagster as dg

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.beta import single_run_asset
from polycopy_assets.assets.count_plan import CountConfig, in_the_table, plan_counts
from polycopy_assets.assets.fetch_plan import has_partitions
from polycopy_assets.assets.pages import WITNESS_PAGE
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.assets.step_counts import StepCounts
from polycopy_assets.checks.source_agrees import SOURCE_AGREES, agreement
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import SOURCE
from polycopy_assets.guard.working import working
from polycopy_assets.ledger.failure import by_reason
from polycopy_assets.pipeline.count import count
from polycopy_assets.pipeline.ports import CountPorts
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.partitions import wallets_partitions
from polycopy_assets.resources.embedded import SourceResource, StoreResource, WarehouseResource
from polycopy_assets.sources.open import check_can_count
from polycopy_assets.text import counted

NAMED = 20


@single_run_asset(
    key=asset_keys(TRADES).counts,
    partitions_def=wallets_partitions,
    # Not `wallet_trades`: Dagster refuses a run without partitions of an asset that depends on
    # partitions of its own kind, and a sample of scattered wallets is such a run.
    deps=["trades"],
    output_required=False,
    pool=SOURCE,
    group_name="trades",
    kinds={"python"},
    owners=OWNERS,
    tags=TAGS,
    description="Compares the source's own count of a wallet's trades with the table.\n\n"
    "Over whole UTC days. Materializing it sends one request per wallet.\n\n" + WITNESS_PAGE,
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(
                    "source_counts", "int", "trades before `before`, by the source's count"
                ),
                dg.TableColumn("table", "int", "the same, in the table"),
                dg.TableColumn(
                    "before", "timestamp", "the end of the last whole UTC day in the coverage"
                ),
            ]
        )
    },
    check_specs=[SOURCE_AGREES],
)
def source_counts(  # noqa: PLR0917 - Dagster passes the resources
    context: dg.AssetExecutionContext,
    config: CountConfig,
    source: SourceResource,
    store: StoreResource,
    warehouse: WarehouseResource,
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.AssetCheckResult]:
    """Records each wallet as soon as it is compared, and yields the check's result.

    Raises Failure if a requested wallet could not be compared. A difference is not a failure.
    """
    with failing_plainly(context):
        check_can_count(source.kind, TRADES)
    with failing_plainly(context), working(context, SOURCE, progress) as permit:
        plan = plan_counts(context, TRADES, config)
        progress.begin("counting the table")
        objects = store.open(context.instance)
        warehouse.check_fits(objects, "source_counts", context.run.run_id)
        opened = warehouse.open("source_counts", context.run.run_id)
        table = opened.table(objects.feed)
        comparable, others = in_the_table(context.instance, plan.wallets, objects, table)
        record = StepCounts(
            context, objects.feed, refetched=config.refetched, mark=not has_partitions(context)
        )
        if plan.noted:
            record.write_skipped(others)
        ports = CountPorts(
            open_source=source.opener(progress, permit),
            record=record,
            concurrency=source.concurrency,
            progress=progress,
            check=permit.check,
        )
        failed = [*(others if plan.by_name else ()), *count(comparable, ports)]
    yield agreement(FeedRecord(context.instance, TRADES), failed, not_compared=len(others))
    if failed:
        raise _failure(failed, len(plan.wallets))


def _failure(failed: list[Failed], wallets: int) -> dg.Failure:
    named = "\n".join(by_reason(failed, NAMED))
    return dg.Failure(
        f"{len(failed):,} of {counted(wallets, 'wallet')} could not be compared;"
        f" the others are recorded.\n{named}",
        metadata={"failed": len(failed)},
        allow_retries=False,
    )
