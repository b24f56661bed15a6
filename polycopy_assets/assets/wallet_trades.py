"""`wallet_trades`: the trades of a wallet, as segments in the store, recorded as they are done.

One run fetches many wallets. It yields a materialization for each as soon as the wallet is
durable, and no output: an output would mark every targeted wallet as materialized, also one that
failed. `docs/dagster.md` tells which patterns were tried.
"""

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import closing
from time import monotonic
from typing import Literal, NamedTuple

import dagster as dg
from pydantic import Field

from polycopy_assets import attempts, record
from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.failures import Failures
from polycopy_assets.assets.planned import mark_planned
from polycopy_assets.charts import CHARTED_WALLETS, progress_chart
from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.bridge import iterate
from polycopy_assets.fetch.wallet import Fetched
from polycopy_assets.fetch.wallets import Failed
from polycopy_assets.liveness import alive
from polycopy_assets.partitions import STRAY, registered, strays, told_apart, wallets_partitions
from polycopy_assets.progress import Progress
from polycopy_assets.resources import SourceResource, StoreResource
from polycopy_assets.store.base import Store
from polycopy_assets.trades.segment import Segment, wallet_prefix
from polycopy_assets.trades.wallet import parse_wallet, refusals
from polycopy_assets.turns import SOURCE, turn

Event = dg.AssetMaterialization | dg.AssetObservation

NAMED_FAILURES = 20
DOWN_TAG = "polycopy/source_down"
"""The tag of a run that found the source or the store down: when, epoch seconds."""

FAILED_TAG = "polycopy/failed_wallets"
"""The tag of a run that failed because wallets did: how many."""

CHART_EVERY_SECONDS = 900.0
_WITHOUT_PARTITIONS = "for a run without partitions: launch the job `fetch` from its launchpad"

Select = Literal["chosen", "remaining", "due", "failed", "refresh", "all"]
Mode = Literal["missing", "full"]


class FetchConfig(dg.Config):
    """What to fetch: of the chosen partitions, or, in a run without any, of all wallets."""

    select: Select = Field(
        default="chosen",
        description="`chosen`: all of the chosen partitions or wallets; in a run without any, "
        "`remaining`. `remaining`: wallets without a record; the others are not asked for. "
        "`all`: also what lies behind the coverage of those that have one, longest not brought up "
        "to date first. `failed`: wallets whose latest attempt failed. `due`: the remaining ones "
        "and those that failed, but a failed one only when its next attempt is due. `refresh`: as "
        "`all`, but a failed one only when its next attempt is due.",
    )
    wallets: list[str] = Field(
        default=[],
        description="Only these, in a run without partitions; they have to be partitions. One run, "
        "however scattered they are.",
    )
    mode: Mode = Field(
        default="missing",
        description="`missing`: what the store lacks. `full`: everything anew; what there is stays "
        "valid until the new is recorded, and goes then.",
    )
    limit: int = Field(default=0, ge=0, description="At most so many wallets; 0 is no limit.")


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
        objects = store.open()
        objects.check_writable()
        plan = _plan(context, config)
        progress.begin("")
        progress.wallets = len(plan.targets)
        yield from _record_again(context, plan.skipped)
        failures = Failures()
        fetched = _outcomes(context, config, source, objects, progress, plan.targets, idle, may_go)
        # Closed before the turn is over: nothing goes on in the background then.
        with closing(fetched) as outcomes:
            for outcome in _charted(outcomes, progress):
                if isinstance(outcome, Fetched):
                    yield _materialization(objects, outcome)
                    if outcome.superseded is not None:
                        refetch.finish(objects, outcome.wallet, outcome.superseded)
                    progress.done += 1
                    progress.stored += outcome.new_rows
                    yield from _attempts(plan, failures.fetched())
                elif isinstance(outcome, Failed):
                    progress.failures.append((outcome.wallet, outcome.reason))
                    _show(context, outcome)
                    yield from _attempts(plan, failures.failed(outcome))
                else:
                    yield outcome
        yield from _attempts(plan, failures.ended())
        context.log.info(progress.line())
        if failures.all:
            yield from _record_again(context, plan.done_before)
            _note(context, failures)
            raise _failure(failures.all, progress)


class _Plan(NamedTuple):
    """What to fetch; what to record once more though nothing is fetched for it.

    `done_before` are the wallets that the runs recorded that this one retries, `failed_before` the
    latest failed attempts of those to fetch.
    """

    targets: list[str]
    skipped: set[str]
    done_before: set[str]
    failed_before: Mapping[str, attempts.Attempt]


def _plan(context: dg.AssetExecutionContext, config: FetchConfig) -> _Plan:
    done_before = _done_by_family(context)
    chosen = _chosen(context, config)
    targets = [wallet for wallet in _targets(context, config, chosen) if wallet not in done_before]
    return _Plan(
        targets,
        # A backfill calls a partition failed that none of its runs has recorded.
        {*chosen} - {*targets} - done_before if _has_partitions(context) else set(),
        done_before,
        attempts.latest(context.instance, targets),
    )


def _outcomes(  # noqa: PLR0917
    context: dg.AssetExecutionContext,
    config: FetchConfig,
    source: SourceResource,
    store: Store,
    progress: Progress,
    targets: list[str],
    idle: float,
    may_go: Callable[[], bool],
) -> Generator[Fetched | Failed, None, None]:
    """What becomes of each of `targets`, as soon as it is known."""
    if not targets:
        return
    complete = record.versions(context.instance)

    def known(wallet: str) -> tuple[Segment, ...]:
        found = record.record(context.instance, wallet) if wallet in complete else None
        return found.segments if found else ()

    async def outcomes() -> AsyncIterator[Fetched | Failed]:
        async with source.fetcher(store, known, progress, idle=idle, may_go=may_go) as fetcher:
            async for outcome in fetcher.fetch(targets, full=config.mode == "full"):
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


def _show(context: dg.AssetExecutionContext, failure: Failed) -> None:
    """Makes visible at once that a wallet failed: whoever ends the run hides nothing."""
    if failure.tried:
        context.log.error(f"{failure.wallet}: {failure.reason}")
        if not _has_partitions(context):
            mark_planned(context, failure.wallet)


def _attempts(plan: _Plan, own: list[Failed]) -> Iterator[dg.AssetObservation]:
    """Notes the failures that are the wallets' own."""
    for failure in own:
        yield attempts.observation(failure, plan.failed_before.get(failure.wallet))


def _note(context: dg.AssetExecutionContext, failures: Failures) -> None:
    """Tags the run with what kept it from fetching all."""
    tags = {FAILED_TAG: str(len(failures.all))}
    if failures.down:
        tags[DOWN_TAG] = str(attempts.now())
    context.instance.add_run_tags(context.run.run_id, tags)


def _has_partitions(context: dg.AssetExecutionContext) -> bool:
    return context.has_partition_key or context.has_partition_key_range


def _chosen(context: dg.AssetExecutionContext, config: FetchConfig) -> list[str]:
    """The wallets that are spoken of: partitions, the configured ones, or all."""
    if _has_partitions(context):
        if config.wallets:
            raise PolycopyError(f"`wallets` is {_WITHOUT_PARTITIONS}")
        if not context.partition_keys:
            raise PolycopyError(
                "no wallet was chosen: the range of partitions ends before it begins"
            )
        wallets, refused = told_apart(context.partition_keys)
    else:
        wallets, refused = registered(context.instance), strays(context.instance)
    for line in refusals(refused, STRAY):
        context.log.warning(line)
    if _has_partitions(context) or not config.wallets:
        return wallets
    chosen = dict.fromkeys(parse_wallet(text) for text in config.wallets)
    unknown = chosen.keys() - set(wallets)
    if unknown:
        raise PolycopyError(f"no partitions: {', '.join(sorted(unknown)[:NAMED_FAILURES])}")
    return list(chosen)


def _targets(
    context: dg.AssetExecutionContext, config: FetchConfig, chosen: list[str]
) -> list[str]:
    """Those of `chosen` that `config` asks for, in the order in which they are asked for."""
    select = config.select
    if select == "chosen":
        particular = _has_partitions(context) or config.wallets
        select = "all" if particular else "remaining"
    if _has_partitions(context) and (select in {"due", "failed", "refresh"} or config.limit):
        # What a run over partitions does not record counts as failed in the end.
        raise PolycopyError(f"`select: {select}` and `limit` are {_WITHOUT_PARTITIONS}")
    complete = record.versions(context.instance)
    remaining = [wallet for wallet in chosen if wallet not in complete]
    if select == "remaining":
        targets = remaining
    elif select == "failed":
        failed = set(attempts.failed(context.instance))
        targets = [wallet for wallet in chosen if wallet in failed]
    elif select == "due":
        targets = attempts.due_of(remaining, attempts.latest(context.instance, chosen))
    elif select == "refresh":
        tried = attempts.latest(context.instance, chosen)
        well = [wallet for wallet in chosen if wallet in complete and wallet not in tried]
        due = attempts.due_of(remaining, tried)
        targets = due + record.longest_ago_first(context.instance, well)
    else:
        known = [wallet for wallet in chosen if wallet in complete]
        targets = remaining + record.longest_ago_first(context.instance, known)
    return targets[: config.limit or None]


def _done_by_family(context: dg.AssetExecutionContext) -> set[str]:
    """What the runs that this one retries have recorded; it is not asked for again."""
    group = context.instance.get_run_group(context.run.run_id) if context.run.root_run_id else None
    ancestors = (
        [run.run_id for run in group[1] if run.run_id != context.run.run_id] if group else []
    )
    return record.recorded_by(context.instance, ancestors)


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


def _materialization(store: Store, fetched: Fetched) -> dg.AssetMaterialization:
    version, metadata = record.describe(fetched, store.uri(wallet_prefix(fetched.wallet)))
    return record.materialization(fetched.wallet, version, metadata)


def _record_again(
    context: dg.AssetExecutionContext, wallets: set[str]
) -> Iterator[dg.AssetMaterialization]:
    """Records what was skipped once more: a run that fails marks all it does not record."""
    for item in record.records(context.instance, wallets):
        yield record.materialization(item.wallet, item.version, item.metadata)


def _failure(failures: list[Failed], progress: Progress) -> dg.Failure:
    named = "\n".join(f"{item.wallet}: {item.reason}" for item in failures[:NAMED_FAILURES])
    more = len(failures) - NAMED_FAILURES
    return dg.Failure(
        f"{len(failures)} of {progress.wallets} wallets failed; the others are recorded.\n{named}"
        + (f"\nand {more} more" if more > 0 else ""),
        metadata={"failed": len(failures), "recorded": progress.done},
        allow_retries=False,
    )
