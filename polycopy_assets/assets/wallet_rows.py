"""`wallet_trades` and the same of each other feed: the rows of a wallet, as segments.

One run fetches many wallets. It writes a materialization for each as soon as the wallet is
durable, and no output: an output would mark every targeted wallet as materialized, even one that
failed. `docs/dagster.md` lists the patterns that were tried.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import dagster as dg
from msgspec.structs import replace

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.beta import single_run_asset
from polycopy_assets.assets.fetch_config import FetchConfig, described_for
from polycopy_assets.assets.fetch_plan import has_partitions, plan_fetch
from polycopy_assets.assets.pages import RECORD_PAGE, scattered
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.assets.step_record import NAMED_FAILURES, StepRecord, tag_plan, tag_run
from polycopy_assets.errors import OutOfTime, Unsuitable, WarehouseError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import SOURCE
from polycopy_assets.guard.working import working
from polycopy_assets.ledger.failure import by_reason
from polycopy_assets.pipeline.fetch import fetch
from polycopy_assets.pipeline.ports import FetchPorts, FetchReport
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.lost_record import refuse_lost_record
from polycopy_assets.record.partitions import wallets_partitions
from polycopy_assets.resources.embedded import SourceResource, StoreResource, WarehouseResource
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.wanted import read_wanted
from polycopy_assets.text import counted


@cache
def wallet_rows(feed: Feed) -> dg.AssetsDefinition:
    """What is fetched of each wallet for `feed`, as an asset."""

    @single_run_asset(
        key=asset_keys(feed).wallets,
        partitions_def=wallets_partitions,
        deps=["traders"],
        output_required=False,
        pool=SOURCE,
        group_name=feed.name,
        kinds={"python", "json"},
        owners=OWNERS,
        tags=TAGS,
        description=f"Every {feed.row} of a wallet as the source served it; a partition is a "
        "wallet.\n\n"
        "Gzip JSON lines in immutable segments, up to the source's lag. A materialization of a "
        "partition is the commit of its wallet. One without a partition has the numbers of all "
        "wallets.\n\n" + scattered(feed) + "\n\n" + RECORD_PAGE,
        metadata={
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(
                        "(row)",
                        "json",
                        f"one {feed.row} per line, all fields as the source sent them",
                    )
                ]
            )
        },
    )
    @described_for(feed)
    def wallet(
        context: dg.OpExecutionContext,
        config: FetchConfig,
        source: SourceResource,
        store: StoreResource,
        warehouse: WarehouseResource,
        *,
        progress: dg.ResourceParam[Progress],
        deadline: dg.ResourceParam[Deadline],
    ) -> Iterator[dg.AssetMaterialization]:
        """Records each wallet as soon as it is durable; raises Failure if any failed."""
        with failing_plainly(context):
            try:
                with working(context, SOURCE, progress, deadline) as permit:
                    objects = store.open(context.instance, feed)
                    source.check_writable(objects)
                    _refuse_unsuitable(context, warehouse, objects)
                    refuse_lost_record(context.instance, objects)
                    coverage = CoverageWriter(objects, context.run.run_id)
                    plan = plan_fetch(context, feed, config, coverage, read_wanted(objects).retired)
                    tag_plan(context, len(plan.fetch.targets))
                    mark = not has_partitions(context)
                    record = StepRecord(context, feed, plan.fetch.targets, mark=mark)
                    illegible = record.write_again(plan.skipped)
                    ports = FetchPorts(
                        open_source=source.opener(progress, permit, deadline, feed),
                        store=objects,
                        coverage=coverage,
                        record=record,
                        limits=source.limits,
                        progress=progress,
                        check=permit.check,
                        deadline=deadline,
                    )
                    report = fetch(replace(plan.fetch, failed=illegible), ports)
                    if report.failures and not mark:
                        report = _with(report, record, record.write_again(plan.done_before))
                    record.end(report, quickly=deadline.told)
            except OutOfTime as why:
                context.log.info(f"nothing was fetched, because another run was fetching: {why}")
                report = _nothing_done(context, config, store.open(context.instance, feed))
            context.log.info(progress.line())
            if report.left:
                context.log.info(
                    f"{counted(report.left, 'wallet')} left: start it again, it continues"
                )
            if report.failures:
                tag_run(context, report)
                raise _failure(report)
        yield from ()  # no output: see above

    return wallet


def _refuse_unsuitable(
    context: dg.OpExecutionContext, warehouse: WarehouseResource, store: FeedStore
) -> None:
    """Raises Unsuitable if the rows of `store` could never be loaded into the table.

    A table that cannot be reached now is no reason not to fetch: it is loaded later.
    """
    try:
        warehouse.check_fits(store, store.feed.assets.wallets, context.run.run_id)
    except Unsuitable:
        raise
    except WarehouseError as error:
        rows = store.feed.rows
        context.log.warning(f"{error}; the {rows} are fetched, and a later load checks the table")


def _nothing_done(
    context: dg.OpExecutionContext, config: FetchConfig, objects: FeedStore
) -> FetchReport:
    """The report of a fetch whose time was up before it could begin."""
    coverage = CoverageWriter(objects, context.run.run_id)
    plan = plan_fetch(context, objects.feed, config, coverage, read_wanted(objects).retired)
    left = len(plan.fetch.targets)
    report = FetchReport(wallets=left, left=left)
    StepRecord(context, objects.feed, (), mark=not has_partitions(context)).end(report)
    return report


def _with(report: FetchReport, record: StepRecord, illegible: Sequence[Failed]) -> FetchReport:
    """`report`, with wallets that failed after all."""
    for each in illegible:
        record.write_failure(each)
    return replace(
        report,
        wallets=report.wallets + len(illegible),
        failures=[*report.failures, *illegible],
    )


def _failure(report: FetchReport) -> dg.Failure:
    named = by_reason(report.failures, NAMED_FAILURES)
    return dg.Failure(
        f"{len(report.failures):,} of {counted(report.wallets, 'wallet')} failed;"
        " the others are recorded.\n" + "\n".join(named),
        metadata={"failed": len(report.failures), "recorded": report.recorded},
        allow_retries=False,
    )
