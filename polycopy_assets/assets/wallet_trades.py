"""`wallet_trades`: the trades of a wallet, as segments in the store, recorded as they are done.

One run fetches many wallets. It yields a materialization for each as soon as the wallet is
durable, and no output: an output would mark every targeted wallet as materialized, also one that
failed. `docs/dagster.md` tells which patterns were tried.
"""

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import closing
from time import monotonic

import dagster as dg

from polycopy_assets import attempts, record, refetching
from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.failures import Failures
from polycopy_assets.assets.fetch_plan import FetchConfig, Plan, has_partitions, plan_fetch
from polycopy_assets.assets.planned import mark_planned
from polycopy_assets.charts import CHARTED_WALLETS, progress_chart
from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.bridge import iterate
from polycopy_assets.fetch.wallet import Fetched
from polycopy_assets.fetch.wallets import Failed, failed
from polycopy_assets.liveness import FOR_TAG, alive
from polycopy_assets.lost_record import refuse_lost_record
from polycopy_assets.partitions import wallets_partitions
from polycopy_assets.progress import Progress
from polycopy_assets.resources import SourceResource, StoreResource
from polycopy_assets.store.base import Store
from polycopy_assets.text import by_reason
from polycopy_assets.trades.segment import Segment, wallet_prefix
from polycopy_assets.turns import SOURCE, turn

Event = dg.AssetMaterialization | dg.AssetObservation

NAMED_FAILURES = 20
DOWN_TAG = "polycopy/source_down"
"""The tag of a run that found the source or the store down: when, epoch seconds."""

FAILED_TAG = "polycopy/failed_wallets"
"""The tag of a run that failed because wallets did: how many."""

CHART_EVERY_SECONDS = 900.0


@dg.asset(
    key=record.WALLET_TRADES,
    partitions_def=wallets_partitions,
    deps=["traders"],
    output_required=False,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool=SOURCE,
    group_name="trades",
    kinds={"python", "json"},
    owners=OWNERS,
    description="Every trade of a wallet as the source served it: gzip JSON lines in immutable "
    "segments, fetched up to the source's lag. A materialization is the commit of a wallet.",
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn("(row)", "json", "one trade a line, all fields as the source sent")
            ]
        )
    },
)
def wallet_trades(
    context: dg.AssetExecutionContext,
    config: FetchConfig,
    source: SourceResource,
    store: StoreResource,
    progress: dg.ResourceParam[Progress],
) -> Iterator[Event]:
    """Yields one materialization for each wallet that is durable; raises Failure if any failed."""
    with alive(context, progress) as may_go, turn(context, SOURCE, progress) as idle:
        objects = store.open(context.instance)
        objects.check_writable()
        if FOR_TAG not in context.run.tags:  # a reconciliation is what rebuilds the record
            refuse_lost_record(context.instance, objects)
        plan = plan_fetch(context, config)
        progress.begin("")
        progress.wallets = len(plan.targets)
        failures = Failures()
        said: set[str] = set()
        yield from _record_again(context, plan.skipped, progress, failures, said)
        fetched = _outcomes(context, source, objects, progress, plan, idle, may_go)
        # Closed before the turn is over: nothing goes on in the background then.
        with closing(fetched) as outcomes:
            for outcome in _charted(outcomes, progress):
                if isinstance(outcome, Fetched):
                    yield _materialization(objects, outcome)
                    progress.stored += outcome.new_rows
                    outcome = _finished(context, plan, objects, outcome)  # noqa: PLW2901 - what became of it
                if isinstance(outcome, Fetched):
                    progress.done += 1
                    yield from _attempts(plan, failures.fetched())
                elif isinstance(outcome, Failed):
                    own = _failed(context, outcome, progress, failures, said)
                    yield from _attempts(plan, own)
                else:
                    yield outcome
        yield from _attempts(plan, failures.ended())
        context.log.info(progress.line())
        if failures.all:
            yield from _record_again(context, plan.done_before, progress, failures, said)
            _note(context, failures)
            raise _failure(failures.all, progress)


def _outcomes(  # noqa: PLR0917
    context: dg.AssetExecutionContext,
    source: SourceResource,
    store: Store,
    progress: Progress,
    plan: Plan,
    idle: float,
    may_go: Callable[[], bool],
) -> Generator[Fetched | Failed, None, None]:
    """What becomes of each wallet that is to be fetched, as soon as it is known."""
    if not plan.targets:
        return
    complete = record.versions(context.instance)

    def known(wallet: str) -> tuple[Segment, ...]:
        found = record.record(context.instance, wallet) if wallet in complete else None
        return found.segments if found else ()

    def refetches(wallet: str, full: bool) -> None:  # noqa: FBT001 - it is called by position
        state = refetching.BEGUN if full else refetching.MARKED
        refetching.note(context.instance, wallet, state)

    async def outcomes() -> AsyncIterator[Fetched | Failed]:
        async with source.fetcher(
            store, known, progress, idle=idle, may_go=may_go, refetching=refetches
        ) as fetcher:
            async for outcome in fetcher.fetch(plan.targets, full=plan.full, resumed=plan.resumed):
                yield outcome

    yield from iterate(outcomes, ahead=4 * source.concurrency)


def _charted(
    outcomes: Iterator[Fetched | Failed], progress: Progress
) -> Iterator[Fetched | Failed | dg.AssetObservation]:
    """The outcomes, with a picture of the progress now and then, and at the end."""
    charted = monotonic()
    for outcome in outcomes:
        yield outcome
        if monotonic() - charted >= CHART_EVERY_SECONDS:
            charted = monotonic()
            yield _picture(progress)
    progress.sample()
    if progress.wallets >= CHARTED_WALLETS:
        yield _picture(progress)


def _failed(
    context: dg.AssetExecutionContext,
    failure: Failed,
    progress: Progress,
    failures: Failures,
    said: set[str],
) -> list[Failed]:
    """Notes a failure, and makes it visible; the failures that turn out to be the wallets' own."""
    progress.failures.append((failure.wallet, failure.reason))
    _show(context, failure, said)
    return failures.failed(failure)


def _show(context: dg.AssetExecutionContext, failure: Failed, said: set[str]) -> None:
    """Makes visible at once that a wallet failed: whoever ends the run hides nothing.

    A reason in `said` is not said again: an outage would fill the log with it.
    """
    if failure.reason not in said:
        said.add(failure.reason)
        context.log.error(f"{failure.wallet}: {failure.reason}")
        if failure.traceback:
            context.log.error(failure.traceback)
    if failure.tried and not has_partitions(context):
        mark_planned(context, failure.wallet)


def _attempts(plan: Plan, own: list[Failed]) -> Iterator[dg.AssetObservation]:
    """Notes the failures that are the wallets' own."""
    for failure in own:
        yield attempts.observation(failure, plan.failed_before.get(failure.wallet))


def _note(context: dg.AssetExecutionContext, failures: Failures) -> None:
    """Tags the run with what kept it from fetching all."""
    tags = {FAILED_TAG: str(len(failures.all))}
    if failures.down:
        tags[DOWN_TAG] = str(attempts.now())
    context.instance.add_run_tags(context.run.run_id, tags)


def _picture(progress: Progress) -> dg.AssetObservation:
    """How the fetch went on, for people: on the asset's page, among its events."""
    return dg.AssetObservation(
        asset_key=record.WALLET_TRADES,
        description=progress.line(),
        metadata={
            "progress": dg.MetadataValue.md(progress_chart(progress.samples, progress.wallets)),
            "wallets": progress.wallets,
            "done": progress.done,
            "failed": len(progress.failures),
            "trades": progress.trades,
            "requests": progress.requests,
        },
    )


def _finished(
    context: dg.AssetExecutionContext, plan: Plan, store: Store, fetched: Fetched
) -> Fetched | Failed:
    """Removes what a full refetch has replaced, now that the new segments are recorded.

    If that cannot be done the wallet has all its trades, and fails: the next fetch tries again.
    """
    instance, wallet = context.instance, fetched.wallet
    if fetched.superseded is None and wallet not in plan.refetching:
        return fetched
    try:
        if fetched.superseded is not None:
            refetching.note(instance, wallet, refetching.MARKED)
            refetch.finish(store, wallet, fetched.superseded)
        refetching.end(instance, wallet)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this wallet's failure
        return failed(wallet, error)
    return fetched


def _materialization(store: Store, fetched: Fetched) -> dg.AssetMaterialization:
    version, metadata = record.describe(fetched, store.uri(wallet_prefix(fetched.wallet)))
    return record.materialization(fetched.wallet, version, metadata)


def _record_again(
    context: dg.AssetExecutionContext,
    wallets: set[str],
    progress: Progress,
    failures: Failures,
    said: set[str],
) -> Iterator[dg.AssetMaterialization]:
    """Records what was skipped once more: a run that fails marks all it does not record.

    A wallet whose record cannot be read fails, and no other.
    """
    illegible: dict[str, PolycopyError] = {}
    for item in record.records(context.instance, wallets, illegible):
        yield record.materialization(item.wallet, item.version, item.metadata)
    for wallet, error in illegible.items():
        progress.wallets += 1
        _failed(context, failed(wallet, error), progress, failures, said)


def _failure(failures: list[Failed], progress: Progress) -> dg.Failure:
    named = "\n".join(by_reason(((i.wallet, i.reason) for i in failures), NAMED_FAILURES))
    return dg.Failure(
        f"{len(failures)} of {progress.wallets} wallets failed; the others are recorded.\n{named}",
        metadata={"failed": len(failures), "recorded": progress.done},
        allow_retries=False,
    )
