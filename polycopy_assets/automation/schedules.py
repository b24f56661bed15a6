"""The schedules: refresh, witness, leaderboard, maintenance, all off by default; the audit."""

from collections.abc import Sequence
from functools import cache
from math import ceil

import dagster as dg

from polycopy_assets.assets.count_plan import SAMPLE
from polycopy_assets.assets.pages import (
    AUDIT_PAGE,
    AUTOMATION,
    HISTORY_PAGE,
    LEADERBOARD_PAGE,
    MARKETS_PAGE,
    WITNESS_PAGE,
)
from polycopy_assets.automation import jobs, policy
from polycopy_assets.automation.maintenance import maintain
from polycopy_assets.automation.sensors import unless_wrong_store
from polycopy_assets.automation.situation import DAILY_REFRESH, UNDER_WAY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.guard.ours import Job, job_of, our_runs
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.resources.embedded import SourceResource, StoreResource
from polycopy_assets.sources.boards import has_boards
from polycopy_assets.sources.open import can_count

REFRESH_TAGS = {"polycopy/refresh": "daily"}
"""The tag by which a refresh that goes on is found."""

WITNESS_ROUND_DAYS = 30
"""Days within which `daily_witness` has compared every wallet, however many there are."""


@cache
def refresh_daily(feed: Feed) -> dg.ScheduleDefinition:
    """The schedule that fetches what is new of `feed`."""
    job = job_of(Job.FETCH, feed)

    @dg.schedule(
        name=feed.own(DAILY_REFRESH),
        job_name=job,
        cron_schedule="0 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Fetches the new {feed.rows} of every wallet once a day.\n\n"
        "Within the request budget: wallets without a record first, then least recently updated "
        "first. A failed wallet only when its next attempt is due.\n\n" + AUTOMATION,
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, store: StoreResource
    ) -> dg.RunRequest | dg.SkipReason:
        """One refresh, unless the last one still goes on, or it is the wrong store."""
        wanted = dg.RunsFilter(job_name=job, tags=REFRESH_TAGS, statuses=UNDER_WAY)
        going_on = our_runs(context.instance, wanted)
        if going_on:
            run_id = going_on[0].dagster_run.run_id
            return dg.SkipReason(f"run {run_id} is still updating the wallets")
        decision = unless_wrong_store(policy.Act("daily"), context.instance, store)
        if isinstance(decision, policy.Wait):
            return dg.SkipReason(decision.why)
        return dg.RunRequest(
            run_config={"ops": {feed.assets.wallets: {"config": {"select": "refresh"}}}},
            tags=REFRESH_TAGS,
        )

    return schedule


daily_refresh = refresh_daily(TRADES)
"""The one of the first feed, by its name."""


@dg.schedule(
    job=jobs.witness,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Compares some wallets with the source's own count once a day.\n\n"
    "Least recently compared first: 200, or a thirtieth of all if that is more. One request per "
    "wallet. The check `source_agrees` warns of wallets that differ.\n\n" + WITNESS_PAGE,
)
def daily_witness(
    context: dg.ScheduleEvaluationContext, source: SourceResource
) -> dg.RunRequest | dg.SkipReason:
    """One sample, unless the last one is still under way or the source counts nothing."""
    if not can_count(source.kind):
        return dg.SkipReason(f"the source {source.kind!r} has no count to compare with")
    wanted = dg.RunsFilter(job_name=jobs.witness.name, statuses=UNDER_WAY)
    if going_on := our_runs(context.instance, wanted):
        return dg.SkipReason(f"run {going_on[0].dagster_run.run_id} is still comparing")
    complete = len(FeedRecord(context.instance, TRADES).versions())
    sample = max(SAMPLE, ceil(complete / WITNESS_ROUND_DAYS))
    config = {"select": "sample", "sample": sample}
    return dg.RunRequest(run_config={"ops": {"source_counts": {"config": config}}})


@dg.schedule(
    job_name=Job.AUDIT.value,
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Compares the store's listing with the record once a day.\n\n"
    "If the listing has no checksums, it also reads the segments that are due (a 28th a day). The "
    "result is the check `store_has_the_record`.\n\n" + AUDIT_PAGE,
)
def daily_audit(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One audit, unless the last one still goes on."""
    wanted = dg.RunsFilter(job_name=Job.AUDIT.value, statuses=UNDER_WAY)
    if going_on := our_runs(context.instance, wanted):
        return dg.SkipReason(f"run {going_on[0].dagster_run.run_id} is still comparing")
    return dg.RunRequest()


@dg.schedule(
    job=maintain,
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Deletes old runs, events and ticks once a day.\n\n"
    "Of runs that ended more than 30 days ago, what no longer counts. The latest record of every "
    "wallet stays.\n\n" + HISTORY_PAGE,
)
def daily_maintenance(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One maintenance, unless the last one still goes on."""
    wanted = dg.RunsFilter(job_name=maintain.name, statuses=UNDER_WAY)
    if going_on := our_runs(context.instance, wanted):
        return dg.SkipReason(f"run {going_on[0].dagster_run.run_id} is still deleting")
    return dg.RunRequest()


@dg.schedule(
    job=jobs.leaderboard,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Keeps a snapshot of the source's leaderboard once a day.\n\n"
    "Before `daily_refresh`: who was on it when. With POLYCOPY_LEADERBOARD_WANTED, the best are "
    "added to `traders`.\n\n" + LEADERBOARD_PAGE,
)
def daily_leaderboard(
    context: dg.ScheduleEvaluationContext, source: SourceResource, store: StoreResource
) -> dg.RunRequest | dg.SkipReason:
    """One snapshot, unless the last run still goes on, or the source has no boards."""
    if not has_boards(source.kind):
        return dg.SkipReason(f"the source {source.kind!r} has no leaderboard")
    wanted = dg.RunsFilter(job_name=jobs.leaderboard.name, statuses=UNDER_WAY)
    if going_on := our_runs(context.instance, wanted):
        return dg.SkipReason(f"run {going_on[0].dagster_run.run_id} is still reading the board")
    decision = unless_wrong_store(policy.Act("daily"), context.instance, store)
    if isinstance(decision, policy.Wait):
        return dg.SkipReason(decision.why)
    return dg.RunRequest()


@dg.schedule(
    job_name=Job.MARKETS.value,
    cron_schedule="0 7 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Updates the tables `tokens` and `markets` once a day.\n\n"
    "After `daily_refresh`: what new trades are about, and what was resolved.\n\n" + MARKETS_PAGE,
)
def daily_markets(
    context: dg.ScheduleEvaluationContext, source: SourceResource, store: StoreResource
) -> dg.RunRequest | dg.SkipReason:
    """One update, unless the last one still goes on, or the source says nothing of markets."""
    if not has_boards(source.kind):
        return dg.SkipReason(f"the source {source.kind!r} says nothing of markets")
    wanted = dg.RunsFilter(job_name=Job.MARKETS.value, statuses=UNDER_WAY)
    if going_on := our_runs(context.instance, wanted):
        return dg.SkipReason(f"run {going_on[0].dagster_run.run_id} is still asking")
    decision = unless_wrong_store(policy.Act("daily"), context.instance, store)
    if isinstance(decision, policy.Wait):
        return dg.SkipReason(decision.why)
    return dg.RunRequest()


def schedules_of(feeds: Sequence[Feed]) -> list[dg.ScheduleDefinition]:
    """The schedules of `feeds`, and those that are one for all of them."""
    return [
        *map(refresh_daily, feeds),
        daily_audit,
        daily_witness,
        daily_leaderboard,
        daily_markets,
        daily_maintenance,
    ]
