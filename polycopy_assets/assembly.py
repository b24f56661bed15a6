"""The map: assets, checks, jobs, resources."""

import dagster as dg

from polycopy_assets.assets.backfill_checkpoint import backfill_checkpoint
from polycopy_assets.assets.beta import with_code_references
from polycopy_assets.assets.combined_trades import combined_trades
from polycopy_assets.assets.dimensions import dimensions
from polycopy_assets.assets.leaderboard import leaderboard
from polycopy_assets.assets.reconciliation import reconciliation
from polycopy_assets.assets.source_counts import source_counts
from polycopy_assets.assets.traders import traders
from polycopy_assets.assets.trades import trades
from polycopy_assets.assets.wallet_trades import wallet_trades
from polycopy_assets.automation import jobs
from polycopy_assets.automation.maintenance import maintain
from polycopy_assets.automation.schedules import (
    daily_audit,
    daily_leaderboard,
    daily_maintenance,
    daily_markets,
    daily_refresh,
    daily_witness,
)
from polycopy_assets.automation.sensors import SENSORS
from polycopy_assets.checks import CHECKS
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.resources.chosen import (
    source_resource,
    store_resource,
    warehouse_resource,
)
from polycopy_assets.resources.embedded import PolicyResource
from polycopy_assets.settings import Settings

ASSETS = (
    traders,
    backfill_checkpoint,
    wallet_trades,
    combined_trades,
    trades,
    reconciliation,
    source_counts,
    leaderboard,
    dimensions,
)


def build(
    chosen: Settings,
    progress: Progress | None = None,
    deadline: Deadline | None = None,
    *,
    code_references: bool = False,
) -> dg.Definitions:
    """The definitions for `chosen`; `progress` shows what runs in this process.

    At the `deadline` a fetch in this process ends; without one it has no end. Dagster's pages show
    `code_references`; commands do without them.
    """
    counted, end = progress or Progress(), deadline or Deadline()
    return dg.Definitions(
        assets=with_code_references(ASSETS) if code_references else ASSETS,
        asset_checks=CHECKS,
        jobs=[
            jobs.fetch,
            jobs.load,
            jobs.check,
            jobs.audit,
            jobs.reconcile,
            jobs.witness,
            jobs.leaderboard,
            jobs.markets,
            maintain,
        ],
        sensors=SENSORS,
        schedules=[
            daily_refresh,
            daily_audit,
            daily_witness,
            daily_leaderboard,
            daily_markets,
            daily_maintenance,
        ],
        resources={
            "source": source_resource(chosen),
            "store": store_resource(chosen),
            "warehouse": warehouse_resource(chosen),
            "policy": PolicyResource(
                adopt=chosen.adopt,
                late_hours=chosen.late_hours,
                leaderboard=chosen.leaderboard,
                leaderboard_wanted=chosen.leaderboard_wanted,
            ),
            "progress": dg.ResourceDefinition(lambda _: counted),
            "deadline": dg.ResourceDefinition(lambda _: end),
            "report": dg.mem_io_manager,
        },
        # A killed run must not leave a step process that goes on writing.
        executor=dg.in_process_executor,
    )
