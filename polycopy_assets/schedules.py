"""The schedules: the refresh, off until somebody turns it on, and the audit of the store."""

from math import ceil

import dagster as dg

from polycopy_assets import jobs, pace, record
from polycopy_assets.assets.count_plan import SAMPLE
from polycopy_assets.ours import our_runs
from polycopy_assets.resources import SourceResource, StoreResource
from polycopy_assets.sensors import UNDER_WAY, unless_wrong_store
from polycopy_assets.sources.open import can_count

REFRESH_TAGS = {"polycopy/refresh": "daily"}

ROUND_DAYS = 30
"""Days within which `daily_witness` has compared every wallet, however many there are."""


@dg.schedule(
    job=jobs.fetch,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Once a day brings every wallet up to date, the one first that was not for the "
    "longest time; wallets without trades come before all, and a wallet that failed only comes "
    "when its next attempt is due. Within the request budget, like every "
    "fetch.",
)
def daily_refresh(
    context: dg.ScheduleEvaluationContext, store: StoreResource
) -> dg.RunRequest | dg.SkipReason:
    """One refresh, unless the last one still goes on, or the store is another."""
    going_on = our_runs(context.instance, dg.RunsFilter(tags=REFRESH_TAGS, statuses=UNDER_WAY))
    if going_on:
        run_id = going_on[0].dagster_run.run_id
        return dg.SkipReason(f"run {run_id} is still bringing the wallets up to date")
    decision = unless_wrong_store(pace.Act("daily"), context.instance, store)
    if isinstance(decision, pace.Wait):
        return dg.SkipReason(decision.why)
    return dg.RunRequest(
        run_config={"ops": {"wallet_trades": {"config": {"select": "refresh"}}}}, tags=REFRESH_TAGS
    )


@dg.schedule(
    job=jobs.witness,
    cron_schedule="0 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Once a day compares some wallets with the source's own count of their trades, "
    "least recently asked for first: 200, or a thirtieth of all if that is more. One request a "
    "wallet. The check `source_agrees` warns of wallets that differ.",
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
    sample = max(SAMPLE, ceil(len(record.versions(context.instance)) / ROUND_DAYS))
    config = {"select": "sample", "sample": sample}
    return dg.RunRequest(run_config={"ops": {"source_counts": {"config": config}}})


@dg.schedule(
    job=jobs.audit,
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once a day compares the store's listing with the record, and reads the segments "
    "that are due (a 28th a day) where the listing tells no checksums: `store_has_the_record`.",
)
def daily_audit(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One audit, unless the last one still goes on."""
    wanted = dg.RunsFilter(job_name=jobs.audit.name, statuses=UNDER_WAY)
    if going_on := our_runs(context.instance, wanted):
        return dg.SkipReason(f"run {going_on[0].dagster_run.run_id} is still comparing")
    return dg.RunRequest()
