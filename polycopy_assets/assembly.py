"""The map: assets, checks, jobs, resources."""

from collections.abc import Sequence

import dagster as dg

from polycopy_assets.assets.backfill_checkpoint import backfill_checkpoint
from polycopy_assets.assets.beta import with_code_references
from polycopy_assets.assets.combined_rows import combined_rows
from polycopy_assets.assets.dimensions import dimensions
from polycopy_assets.assets.feed_table import feed_table
from polycopy_assets.assets.leaderboard import leaderboard
from polycopy_assets.assets.reconciliation import reconciliation
from polycopy_assets.assets.source_counts import source_counts
from polycopy_assets.assets.traders import traders
from polycopy_assets.assets.wallet_rows import wallet_rows
from polycopy_assets.automation import jobs
from polycopy_assets.automation.maintenance import maintain
from polycopy_assets.automation.schedules import schedules_of
from polycopy_assets.automation.sensors import sensors_of
from polycopy_assets.checks.feed_checks import checks_of
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import named
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.resources.chosen import (
    source_resource,
    store_resource,
    warehouse_resource,
)
from polycopy_assets.resources.embedded import PolicyResource
from polycopy_assets.settings import Settings


def assets_of(feeds: Sequence[Feed]) -> list[dg.AssetsDefinition]:
    """The assets of `feeds`, and those that are one for all of them."""
    of_feeds = [
        make(feed)
        for feed in feeds
        for make in (wallet_rows, combined_rows, feed_table, reconciliation)
    ]
    return [
        traders,
        backfill_checkpoint,
        *of_feeds,
        source_counts,
        leaderboard,
        dimensions(tuple(feeds)),
    ]


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
    feeds = named(chosen.feeds)
    assets = assets_of(feeds)
    counted, end = progress or Progress(), deadline or Deadline()
    return dg.Definitions(
        assets=with_code_references(assets) if code_references else assets,
        asset_checks=[check for feed in feeds for check in checks_of(feed)],
        jobs=[
            *map(jobs.fetch, feeds),
            *map(jobs.load, feeds),
            jobs.check(feeds),
            jobs.audit(feeds),
            *map(jobs.reconcile, feeds),
            jobs.witness,
            jobs.leaderboard,
            jobs.markets(feeds),
            maintain,
        ],
        sensors=sensors_of(feeds),
        schedules=schedules_of(feeds),
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
