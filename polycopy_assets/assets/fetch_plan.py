"""What a run that fetches a feed fetches, out of its partitions or out of all wallets."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple, assert_never

from polycopy_assets.assets.fetch_config import FetchConfig, Select
from polycopy_assets.errors import PolycopyError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.guard.ours import Job, job_of
from polycopy_assets.pipeline.fetch import FetchPlan
from polycopy_assets.record import attempts, oldest_coverage, refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.record.partitions import (
    IN_PARTITIONS,
    invalid_keys,
    registered,
    wallets_and_others,
)
from polycopy_assets.record.step_context import StepContext
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.system import clock
from polycopy_assets.text import first_few
from polycopy_assets.trades.coverage import extended
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import recorded_rows
from polycopy_assets.trades.wallet import parse_wallet, refusals

_NAMED = 20

_BY_ATTEMPT: tuple[Select, ...] = ("due", "failed", "refresh")


class Plan(NamedTuple):
    """What to fetch, and what to record again without fetching it.

    `skipped` are chosen wallets that are not fetched, `done_before` those already recorded by the
    runs that this one retries.
    """

    fetch: FetchPlan
    skipped: set[str]
    done_before: set[str]


def plan_fetch(
    context: StepContext,
    feed: Feed,
    config: FetchConfig,
    coverage: CoverageWriter,
    removed: Collection[str],
) -> Plan:
    """What the run is to fetch of `feed`.

    None of the `removed` wallets, which may still be partitions. Raises PolycopyError if the
    configuration makes no sense.
    """
    record = FeedRecord(context.instance, feed)
    recorded = _done_by_family(context, record, coverage)
    done_before = recorded - refetching.unfinished(record).keys()
    chosen = _without(removed, _chosen(context, feed, config), context)
    selected = _targets(context, record, config, chosen, coverage)
    targets = [wallet for wallet in selected if wallet not in done_before]
    return Plan(
        plan_wallets(record, targets, full=config.mode == "full", recorded=recorded),
        # A backfill marks a partition as failed if none of the backfill's runs has recorded it.
        {*chosen} - {*targets} - done_before if has_partitions(context) else set(),
        done_before,
    )


def plan_wallets(
    record: FeedRecord,
    wallets: Sequence[str],
    *,
    full: bool,
    recorded: Collection[str] = (),
) -> FetchPlan:
    """The plan for `wallets`; with `full` all but those in `recorded` from the beginning."""
    states = refetching.unfinished(record)
    begun = frozenset(wallet for wallet, state in states.items() if state is refetching.State.BEGUN)
    again = frozenset(wallets) - frozenset(recorded) if full else begun
    return FetchPlan(
        targets=list(wallets),
        full=again,
        resumed=begun,
        replacing=frozenset(states),
        expected=_expected(record, wallets, again),
    )


def _expected(record: FeedRecord, wallets: Sequence[str], again: frozenset[str]) -> int:
    """How many trades `wallets` have, if all of them are fetched again and have a record; else 0.

    Of other wallets nobody knows it before they are fetched.
    """
    if not wallets or not again or not again.issuperset(wallets):
        return 0
    rows = recorded_rows(record.versions(wallets))
    return sum(rows.values()) if len(rows) == len(set(wallets)) else 0


def _without_partitions(feed: Feed) -> str:
    job = job_of(Job.FETCH, feed)
    return f"for a run without partitions: launch the job `{job}` from its launchpad"


def has_partitions(context: StepContext) -> bool:
    """Whether the run is for chosen partitions."""
    return context.has_partition_key or context.has_partition_key_range


def _chosen(context: StepContext, feed: Feed, config: FetchConfig) -> list[str]:
    """The wallets to choose from: the partitions, the configured ones, or all."""
    if has_partitions(context):
        if config.wallets:
            raise PolycopyError(f"`wallets` is {_without_partitions(feed)}")
        if not context.partition_keys:
            raise PolycopyError(
                "no wallet was chosen: the range of partitions ends before it begins"
            )
        wallets, refused = wallets_and_others(context.partition_keys)
    else:
        wallets, refused = registered(context.instance), invalid_keys(context.instance)
    for line in refusals(refused, IN_PARTITIONS):
        context.log.warning(line)
    if has_partitions(context) or not config.wallets:
        return wallets
    chosen = dict.fromkeys(parse_wallet(text) for text in config.wallets)
    unknown = chosen.keys() - set(wallets)
    if unknown:
        raise PolycopyError(f"no partitions: {first_few(sorted(unknown), _NAMED)}")
    return list(chosen)


def _without(removed: Collection[str], chosen: list[str], context: StepContext) -> list[str]:
    """The `chosen` wallets that are collected; the others are named.

    A run that was queued before the removal still names them, and so does a partition that a killed
    removal has left.
    """
    if gone := [wallet for wallet in chosen if wallet in removed]:
        context.log.warning(
            "not fetched, because `polycopy wallets remove` has removed them:"
            f" {first_few(gone, _NAMED)}"
        )
    return [wallet for wallet in chosen if wallet not in removed]


def _targets(
    context: StepContext,
    record: FeedRecord,
    config: FetchConfig,
    chosen: list[str],
    coverage: CoverageWriter,
) -> list[str]:
    """Those of `chosen` that `config` selects, in the order in which they are fetched."""
    select = (
        _chosen_means(context, record.feed, config) if config.select == "chosen" else config.select
    )
    if has_partitions(context) and (select in _BY_ATTEMPT or config.limit):
        # When a run over partitions ends, Dagster counts partitions that it did not record as
        # failed.
        raise PolycopyError(
            f"`select: {select}` and `limit` are {_without_partitions(record.feed)}"
        )
    complete = refetching.complete(record)
    remaining = [wallet for wallet in chosen if wallet not in complete]
    match select:
        case "remaining":
            targets = remaining
        case "failed":
            failed = set(attempts.failed(record))
            targets = [wallet for wallet in chosen if wallet in failed]
        case "due":
            targets = attempts.due_of(remaining, attempts.latest(record, chosen))
        case "refresh":
            tried = attempts.latest(record, chosen)
            well = [wallet for wallet in chosen if wallet in complete and wallet not in tried]
            due = attempts.due_of(remaining, tried)
            targets = due + _longest_ago_first(record, config, well, coverage)
        case "all":
            known = [wallet for wallet in chosen if wallet in complete]
            targets = remaining + _longest_ago_first(record, config, known, coverage)
        case _:
            assert_never(select)
    return targets[: config.limit or None]


def _longest_ago_first(
    record: FeedRecord,
    config: FetchConfig,
    wallets: list[str],
    coverage: CoverageWriter,
) -> list[str]:
    before = clock.now() - config.older_than if config.older_than else None
    return oldest_coverage.longest_ago_first(record, wallets, coverage.of, before=before)


def _chosen_means(
    context: StepContext, feed: Feed, config: FetchConfig
) -> Literal["all", "remaining"]:
    """What `chosen` stands for.

    If a selection of assets matches nothing, Dagster runs all assets, without partitions: that must
    not fetch every wallet. The job `fetch` may, because that is its purpose.
    """
    if has_partitions(context) or config.wallets:
        return "all"
    job = job_of(Job.FETCH, feed)
    if context.job_name == job:
        return "remaining"
    asset = feed.assets.wallets
    raise PolycopyError(
        "nothing was fetched: this run has no partition, and its configuration names no wallets."
        " If you selected assets, check the selection: one that matches nothing runs all assets."
        f" To fetch, name a partition (`--select {asset} --partition 0x…`), run the job"
        f" `{job}`, or set `select` or `wallets` in the configuration of `{asset}`"
    )


def _done_by_family(context: StepContext, record: FeedRecord, coverage: CoverageWriter) -> set[str]:
    """The wallets that the runs that this one retries have fetched; not to be fetched again.

    They were recorded; or, in runs that do not record a wallet without news, had none.
    """
    group = context.instance.get_run_group(context.run.run_id) if context.run.root_run_id else None
    ancestors = (
        [run.run_id for run in group[1] if run.run_id != context.run.run_id] if group else []
    )
    recorded = record.recorded_by(ancestors)
    if not ancestors or has_partitions(context):
        return recorded
    return recorded | _without_news(record, coverage.stated_by(ancestors))


def _without_news(record: FeedRecord, stated: Mapping[str, Interval]) -> set[str]:
    """The wallets whose record is complete up to the time without trades that was `stated`.

    Coverage is written before the record: if a run is killed in between, a wallet that has news, or
    no record yet, is stated as well.
    """
    return {
        wallet
        for wallet, found in record.read(stated.keys())
        if isinstance(found, Record)
        and extended(found.covered_until, stated[wallet]) >= stated[wallet].until
    }
