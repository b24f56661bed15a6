"""The job `maintain`: what the command `polycopy maintain` does, as a run."""

import dagster as dg
import msgspec
from pydantic import Field

from polycopy_assets.assets.pages import HISTORY_PAGE
from polycopy_assets.automation.situation import deciding_runs
from polycopy_assets.guard.heartbeat import heartbeat
from polycopy_assets.guard.ours import OUR_TAGS, Job
from polycopy_assets.retention import maintain as retention

_DAY = 86_400


class MaintainConfig(dg.Config):
    """What the job `maintain` deletes."""

    keep_days: int = Field(
        default=retention.KEEP_DAYS,
        ge=0,
        le=retention.MOST_DAYS,
        description="Days after their end for which runs stay.",
    )
    dry_run: bool = Field(default=False, description="Only say what would be deleted.")


@dg.op(description="Deletes old runs, events and ticks that no longer count.")
def delete_old(context: dg.OpExecutionContext, config: MaintainConfig) -> None:
    """Deletes what no longer counts, and says in the run's log what that was, and what was left."""
    with heartbeat(context) as pulse:
        freed = retention.maintain(
            context.instance,
            keep_days=config.keep_days,
            kept=lambda: deciding_runs(context.instance),
            dry_run=config.dry_run,
            check=pulse.check,
        )
    context.log.info(msgspec.json.encode(freed).decode())
    context.add_output_metadata(msgspec.to_builtins(freed))
    if freed.left:
        context.log.warning(freed.left)


@dg.job(
    name=Job.MAINTAIN.value,
    description="Deletes old runs, events, ticks and files that no longer count.\n\n"
    "The latest record of every wallet stays. The schedule `daily_maintenance` starts it.\n\n"
    + HISTORY_PAGE,
    executor_def=dg.in_process_executor,
    tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 4)},
)
def maintain() -> None:
    """One step."""
    delete_old()
