"""`leaderboard`: who was on the source's leaderboard when, and who of it is wanted."""

from collections.abc import Collection, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.pages import LEADERBOARD_PAGE
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.boards.board import MOST, Asked, asked_of
from polycopy_assets.boards.columns import COLUMNS, SCHEMA
from polycopy_assets.boards.snapshot import Snapshot
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import SOURCE
from polycopy_assets.guard.working import working
from polycopy_assets.pipeline.leaderboard import Kept, SnapshotPorts, keep_snapshots
from polycopy_assets.record.wanted import want
from polycopy_assets.resources.embedded import (
    PolicyResource,
    SourceResource,
    StoreResource,
    WarehouseResource,
)
from polycopy_assets.settings.boards import parse_boards
from polycopy_assets.warehouse.feed_table import cost_metadata

NAME = "leaderboard"
SHOWN = 20


class LeaderboardConfig(dg.Config):
    """Which boards are kept, and who of them is wanted; by default as the settings say."""

    boards: str = Field(
        default="",
        description="WINDOW/BY/CATEGORY/TOP[,…], e.g. `week/pnl/overall/1000`. Empty: "
        "POLYCOPY_LEADERBOARD.",
    )
    wanted: int = Field(
        default=-1,
        ge=-1,
        le=MOST,
        description="The last rank that is wanted; 0 adds nobody. -1: POLYCOPY_LEADERBOARD_WANTED.",
    )


@dg.asset(
    key=NAME,
    pool=SOURCE,
    group_name="wanted",
    kinds={"python", "table"},
    owners=OWNERS,
    tags=TAGS,
    description="Who was on the source's leaderboard when.\n\n"
    "One snapshot a day of each board, kept in the store and loaded into the table `leaderboard`. "
    "If a policy is set, the best are added to `traders`.\n\n" + LEADERBOARD_PAGE,
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(name, str(SCHEMA[name]).lower().partition("(")[0], text)
                for name, (_, text) in COLUMNS.items()
            ]
        )
    },
)
def leaderboard(  # noqa: PLR0917 - Dagster passes the resources
    context: dg.AssetExecutionContext,
    config: LeaderboardConfig,
    source: SourceResource,
    store: StoreResource,
    warehouse: WarehouseResource,
    policy: PolicyResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """Takes the snapshots that the day still lacks, adds who is wanted, and loads the table.

    A run that is repeated asks the source only for its clock, and doubles no row.
    """
    first = policy.leaderboard_wanted if config.wanted < 0 else config.wanted
    with failing_plainly(context), working(context, SOURCE, progress) as permit:
        boards = _boards(config.boards or policy.leaderboard)
        objects = store.open(context.instance)
        table = warehouse.open(NAME, context.run.run_id)

        def add(wallets: Collection[str]) -> int:
            return want(context.instance, objects, table, wallets, removed=False)

        ports = SnapshotPorts(
            store=objects,
            table=table.boards,
            open_boards=source.boards(progress, permit),
            want=add,
            check=permit.check,
        )
        kept = keep_snapshots(boards, first, ports)
    for name in kept.damaged:
        context.log.warning(f"{name} is damaged, and was moved to the quarantine")
    return dg.MaterializeResult(metadata={**_metadata(kept, first), **cost_metadata(table.cost)})


def _boards(text: str) -> list[Asked]:
    return [asked_of(*board) for board in parse_boards(text)]


def _metadata(kept: Kept, first: int) -> dict[str, Any]:
    return {
        "taken": [snapshot.key.name for snapshot in kept.taken],
        "there_already": [key.name for key in kept.there],
        "loaded": [key.name for key in kept.loaded],
        "wallets_added": kept.added,
        "wanted_until_rank": first,
        "requests": kept.requests,
        "damaged": kept.damaged,
        **({"first": _first(kept.taken)} if kept.taken else {}),
    }


def _first(taken: Sequence[Snapshot]) -> dg.TableMetadataValue:
    """The first wallets of each board that was read; their names are safe to show."""
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "board": f"{snapshot.window}/{snapshot.by}/{snapshot.category}",
                    "rank": entry.rank,
                    "wallet": entry.wallet,
                    "name": entry.shown,
                    "pnl_usdc": "-" if entry.pnl is None else f"{entry.pnl:,.2f}",
                    "volume_shares": "-" if entry.volume is None else f"{entry.volume:,.0f}",
                }
            )
            for snapshot in taken
            for entry in snapshot.entries[:SHOWN]
        ]
    )
