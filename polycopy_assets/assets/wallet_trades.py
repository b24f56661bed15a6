"""`wallet_trades`: the trades of a wallet, as segments in the store, recorded as they are done.

One run fetches many wallets. It yields a materialization for each as soon as the wallet is
durable, and no output: an output would mark every targeted wallet as materialized, also one that
failed. `docs/dagster.md` tells which patterns were tried.
"""

from collections.abc import AsyncIterator, Iterator
from enum import Enum
from time import monotonic

import dagster as dg
from pydantic import Field

from polycopy_assets import record
from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.planned import mark_planned
from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.bridge import iterate
from polycopy_assets.fetch.wallet import Fetched
from polycopy_assets.fetch.wallets import Failed
from polycopy_assets.partitions import registered, wallets_partitions
from polycopy_assets.progress import Progress
from polycopy_assets.resources import SourceResource, StoreResource
from polycopy_assets.store.base import Store
from polycopy_assets.trades.segment import Segment, wallet_prefix
from polycopy_assets.trades.wallet import parse_wallet

LOG_EVERY_SECONDS = 10.0
NAMED_FAILURES = 20


class Select(Enum):
    """What a run without partitions of its own fetches."""

    REMAINING = "remaining"
    ALL = "all"


class Mode(Enum):
    """How much of a wallet is fetched."""

    MISSING = "missing"
    FULL = "full"


class FetchConfig(dg.Config):
    """What to fetch when the run is not for particular partitions."""

    select: Select = Field(
        default=Select.REMAINING,
        description="`remaining`: wallets without a record. `all`: those, and what lies behind "
        "the coverage of the others. Without effect where partitions or wallets are chosen.",
    )
    wallets: list[str] = Field(
        default=[],
        description="Exactly these, which have to be partitions: what the store lacks of each, "
        "whatever their record says. Without effect where partitions were chosen.",
    )
    mode: Mode = Field(
        default=Mode.MISSING,
        description="`missing`: what the store lacks. `full`: everything anew; what there is stays "
        "valid until the new is recorded, and goes then.",
    )


@dg.asset(
    key=record.WALLET_TRADES,
    partitions_def=wallets_partitions,
    deps=["traders"],
    output_required=False,
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="source",
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
) -> Iterator[dg.AssetMaterialization]:
    """Yields one materialization for each wallet that is durable; raises Failure if any failed."""
    objects = store.open()
    objects.check_writable()
    done_before = _done_by_family(context)
    targets = [wallet for wallet in _targets(context, config) if wallet not in done_before]
    progress.begin("")
    progress.wallets = len(targets)
    complete = record.versions(context.instance)

    def known(wallet: str) -> tuple[Segment, ...]:
        found = record.record(context.instance, wallet) if wallet in complete else None
        return found.segments if found else ()

    async def outcomes() -> AsyncIterator[Fetched | Failed]:
        async with source.fetcher(objects, known, progress) as fetcher:
            async for outcome in fetcher.fetch(targets, full=config.mode is Mode.FULL):
                yield outcome

    failures: list[Failed] = []
    for outcome in _logged(
        context, progress, iterate(outcomes, ahead=4 * source.concurrency) if targets else iter(())
    ):
        if isinstance(outcome, Failed):
            failures.append(outcome)
            progress.failures.append((outcome.wallet, outcome.reason))
            if outcome.tried:
                context.log.error(f"{outcome.wallet}: {outcome.reason}")
        else:
            yield _materialization(objects, outcome)
            if outcome.superseded is not None:
                refetch.finish(objects, outcome.wallet, outcome.superseded)
            progress.done += 1
            progress.stored += outcome.new_rows
    if failures:
        yield from _record_again(context, done_before)
        if not _has_partitions(context):
            mark_planned(context, [item.wallet for item in failures if item.tried])
        raise _failure(failures, progress)


def _has_partitions(context: dg.AssetExecutionContext) -> bool:
    return context.has_partition_key or context.has_partition_key_range


def _targets(context: dg.AssetExecutionContext, config: FetchConfig) -> list[str]:
    """The chosen partitions; or, in a run without any, what `config` asks for by the record."""
    if _has_partitions(context):
        return list(context.partition_keys)
    wallets = registered(context.instance)
    if config.wallets:
        chosen = dict.fromkeys(parse_wallet(text) for text in config.wallets)
        unknown = chosen.keys() - set(wallets)
        if unknown:
            raise PolycopyError(f"no partitions: {', '.join(sorted(unknown)[:NAMED_FAILURES])}")
        return list(chosen)
    if config.select is Select.ALL:
        return wallets
    complete = record.versions(context.instance)
    return [wallet for wallet in wallets if wallet not in complete]


def _done_by_family(context: dg.AssetExecutionContext) -> set[str]:
    """What the runs that this one retries have recorded; it is not asked for again."""
    group = context.instance.get_run_group(context.run.run_id) if context.run.root_run_id else None
    ancestors = (
        [run.run_id for run in group[1] if run.run_id != context.run.run_id] if group else []
    )
    return record.recorded_by(context.instance, ancestors)


def _logged(
    context: dg.AssetExecutionContext, progress: Progress, outcomes: Iterator[Fetched | Failed]
) -> Iterator[Fetched | Failed]:
    """The outcomes, with a line in the run's log now and then."""
    logged = monotonic()
    for outcome in outcomes:
        yield outcome
        if monotonic() - logged >= LOG_EVERY_SECONDS:
            logged = monotonic()
            context.log.info(progress.line())
    context.log.info(progress.line())


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
