"""`source_counts`: how many trades of a wallet the source counts, and how many the table holds.

Like `wallet_trades` it records each wallet as soon as it is known, and has no output: a run that
is killed keeps what it has learnt.
"""

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import closing

import dagster as dg

from polycopy_assets import counts
from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.count_plan import CountConfig, in_the_table, plan_counts
from polycopy_assets.assets.fetch_plan import has_partitions
from polycopy_assets.assets.planned import mark_planned
from polycopy_assets.checks.source_agrees import SOURCE_AGREES, agreement
from polycopy_assets.fetch.bridge import iterate
from polycopy_assets.fetch.wallets import Failed
from polycopy_assets.fetch.witness import Questions
from polycopy_assets.ledger.witness import Count, Ours
from polycopy_assets.liveness import alive
from polycopy_assets.partitions import wallets_partitions
from polycopy_assets.progress import Progress
from polycopy_assets.resources import SourceResource, WarehouseResource
from polycopy_assets.sources.open import check_can_count
from polycopy_assets.text import by_reason
from polycopy_assets.trades.page import Witness
from polycopy_assets.turns import SOURCE, turn

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckResult

NAMED = 20


@dg.asset(
    key=counts.SOURCE_COUNTS,
    partitions_def=wallets_partitions,
    # Not `wallet_trades`: Dagster refuses a run without partitions of an asset that depends on
    # partitions of its own kind, and a sample of scattered wallets is such a run.
    deps=["trades"],
    output_required=False,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=SOURCE,
    group_name="trades",
    kinds={"python"},
    owners=OWNERS,
    description="How many trades of a wallet the source counts by another path than its pages, "
    "and how many the table holds, over whole UTC days. Materializing it sends one request a "
    "wallet.",
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn("source_counts", "int", "trades before `before`, by the source"),
                dg.TableColumn("table", "int", "the same, in the table"),
                dg.TableColumn("before", "timestamp", "the end of a UTC day, within the coverage"),
            ]
        )
    },
    check_specs=[SOURCE_AGREES],
)
def source_counts(
    context: dg.AssetExecutionContext,
    config: CountConfig,
    source: SourceResource,
    warehouse: WarehouseResource,
    progress: dg.ResourceParam[Progress],
) -> Iterator[Event]:
    """Yields one materialization for each wallet that was compared, and what the check says.

    Raises Failure if any wallet that was asked for could not be. A difference is no failure.
    """
    check_can_count(source.kind)
    with alive(context, progress) as may_go, turn(context, SOURCE, progress) as idle:
        plan = plan_counts(context, config)
        before = counts.latest(context.instance)
        progress.begin("counting the table")
        table = warehouse.open("source_counts", context.run.run_id)
        comparable, others = in_the_table(context.instance, plan.wallets, table)
        for failure in others if plan.noted else ():
            yield counts.failure(failure)
        failed = others if plan.by_name else []
        progress.begin("asking the source for its counts", len(comparable))
        # Closed before the turn is over: nothing goes on in the background then.
        with closing(_asked(source, progress, comparable, idle, may_go)) as outcomes:
            for outcome in outcomes:
                progress.step_done += 1
                if isinstance(outcome, Count):
                    known = before.get(outcome.wallet)
                    yield counts.materialization(outcome.after(known, refetched=config.refetched))
                else:
                    failed.append(outcome)
                    yield from _noted(context, outcome)
        progress.begin("")
        yield agreement(context.instance, failed, not_compared=len(others))
        if failed:
            raise _failure(failed, len(plan.wallets))


def _asked(
    source: SourceResource,
    progress: Progress,
    wallets: list[Ours],
    idle: float,
    may_go: Callable[[], bool],
) -> Generator[Count | Failed, None, None]:
    """What becomes of each of `wallets`, as soon as it is known."""
    if not wallets:
        return

    async def outcomes() -> AsyncIterator[Count | Failed]:
        async with source.open(progress, idle=idle, may_go=may_go) as opened:
            if not isinstance(opened, Witness):
                raise TypeError(f"{opened.name} cannot count")
            async for outcome in Questions(opened, concurrency=source.concurrency).ask(wallets):
                yield outcome

    yield from iterate(outcomes, ahead=4 * source.concurrency)


def _noted(context: dg.AssetExecutionContext, failure: Failed) -> Iterator[dg.AssetObservation]:
    """Makes visible at once that a wallet could not be compared, if it was asked for."""
    if not failure.tried:
        return
    context.log.error(f"{failure.wallet}: {failure.reason}")
    if failure.traceback:
        context.log.error(failure.traceback)
    if not has_partitions(context):
        mark_planned(context, failure.wallet)
    yield counts.failure(failure)


def _failure(failed: list[Failed], wallets: int) -> dg.Failure:
    named = "\n".join(by_reason(((item.wallet, item.reason) for item in failed), NAMED))
    return dg.Failure(
        f"{len(failed)} of {wallets} wallets could not be compared; the others are recorded.\n"
        + named,
        metadata={"failed": len(failed)},
        allow_retries=False,
    )
