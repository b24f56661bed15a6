"""The schedules; off until somebody turns them on."""

import dagster as dg

from polycopy_assets import jobs
from polycopy_assets.ours import our_runs
from polycopy_assets.sensors import UNDER_WAY

REFRESH_TAGS = {"polycopy/refresh": "daily"}


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
def daily_refresh(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One refresh, unless the last one still goes on."""
    going_on = our_runs(context.instance, dg.RunsFilter(tags=REFRESH_TAGS, statuses=UNDER_WAY))
    if going_on:
        run_id = going_on[0].dagster_run.run_id
        return dg.SkipReason(f"run {run_id} is still bringing the wallets up to date")
    return dg.RunRequest(
        run_config={"ops": {"wallet_trades": {"config": {"select": "refresh"}}}}, tags=REFRESH_TAGS
    )
