"""What a run of `wallet_trades` fetches: of the partitions that it is for, or of all wallets."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import dagster as dg
from pydantic import Field

from polycopy_assets import attempts, record, refetching
from polycopy_assets.errors import PolycopyError
from polycopy_assets.partitions import STRAY, registered, strays, told_apart
from polycopy_assets.trades.wallet import parse_wallet, refusals

_NAMED = 20
_WITHOUT_PARTITIONS = "for a run without partitions: launch the job `fetch` from its launchpad"

Select = Literal["chosen", "remaining", "due", "failed", "refresh", "all"]
Mode = Literal["missing", "full"]


class FetchConfig(dg.Config):
    """What to fetch: of the chosen partitions, or, in a run without any, of all wallets."""

    select: Select = Field(
        default="chosen",
        description="`chosen`: all of the chosen partitions or wallets; without any, the job "
        "`fetch` takes `remaining`, and other runs fail. `remaining`: wallets without a record, or "
        "whose full refetch has not ended; the others are not asked for. "
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


class Plan(NamedTuple):
    """What to fetch; what to record once more though nothing is fetched for it.

    `done_before` are the wallets that the runs recorded that this one retries, `failed_before` the
    latest failed attempts of those to fetch. Those in `full` are fetched from the beginning;
    `refetching` are the wallets of which segments are still to be replaced, `resumed` those of them
    whose full refetch was begun.
    """

    targets: list[str]
    skipped: set[str]
    done_before: set[str]
    failed_before: Mapping[str, attempts.Attempt]
    full: frozenset[str]
    refetching: frozenset[str]
    resumed: frozenset[str]


def plan_fetch(context: dg.AssetExecutionContext, config: FetchConfig) -> Plan:
    """What the run is to fetch; raises PolycopyError if it is told what makes no sense."""
    states = refetching.unfinished(context.instance)
    recorded = _done_by_family(context)
    done_before = recorded - states.keys()
    chosen = _chosen(context, config)
    targets = [wallet for wallet in _targets(context, config, chosen) if wallet not in done_before]
    begun = frozenset(wallet for wallet, state in states.items() if state == refetching.BEGUN)
    return Plan(
        targets,
        # A backfill calls a partition failed that none of its runs has recorded.
        {*chosen} - {*targets} - done_before if has_partitions(context) else set(),
        done_before,
        attempts.latest(context.instance, targets),
        frozenset({*targets} - recorded) if config.mode == "full" else begun,
        frozenset(states),
        begun,
    )


def has_partitions(context: dg.AssetExecutionContext) -> bool:
    """Whether the run is for chosen partitions."""
    return context.has_partition_key or context.has_partition_key_range


def _chosen(context: dg.AssetExecutionContext, config: FetchConfig) -> list[str]:
    """The wallets that are spoken of: partitions, the configured ones, or all."""
    if has_partitions(context):
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
    if has_partitions(context) or not config.wallets:
        return wallets
    chosen = dict.fromkeys(parse_wallet(text) for text in config.wallets)
    unknown = chosen.keys() - set(wallets)
    if unknown:
        raise PolycopyError(f"no partitions: {', '.join(sorted(unknown)[:_NAMED])}")
    return list(chosen)


def _targets(
    context: dg.AssetExecutionContext, config: FetchConfig, chosen: list[str]
) -> list[str]:
    """Those of `chosen` that `config` asks for, in the order in which they are asked for."""
    select = config.select
    if select == "chosen":
        select = _chosen_means(context, config)
    if has_partitions(context) and (select in {"due", "failed", "refresh"} or config.limit):
        # What a run over partitions does not record counts as failed in the end.
        raise PolycopyError(f"`select: {select}` and `limit` are {_WITHOUT_PARTITIONS}")
    complete = refetching.complete(context.instance)
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


def _chosen_means(context: dg.AssetExecutionContext, config: FetchConfig) -> Select:
    """What `chosen` stands for.

    A selection of assets that matches nothing makes Dagster run all of them, without partitions:
    it must not fetch every wallet. The job `fetch` is started by people who want just that.
    """
    if has_partitions(context) or config.wallets:
        return "all"
    if context.job_name == "fetch":
        return "remaining"
    raise PolycopyError(
        "nothing was fetched: this run has no partition and is not told which wallets to fetch."
        " If you selected assets, check the selection: one that matches nothing runs all assets."
        " To fetch, name a partition (`--select wallet_trades --partition 0x…`), run the job"
        " `fetch`, or set `select` or `wallets` in the configuration of `wallet_trades`"
    )


def _done_by_family(context: dg.AssetExecutionContext) -> set[str]:
    """What the runs that this one retries have recorded; it is not asked for again."""
    group = context.instance.get_run_group(context.run.run_id) if context.run.root_run_id else None
    ancestors = (
        [run.run_id for run in group[1] if run.run_id != context.run.run_id] if group else []
    )
    return record.recorded_by(context.instance, ancestors)
