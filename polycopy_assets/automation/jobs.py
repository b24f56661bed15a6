"""The jobs. Fetching has a run of its own; so have combining and loading; each feed has its own.

`wallet_trades` has no output (see `assets/wallet_rows.py`), so later steps in the same run would
be skipped silently.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import dagster as dg

from polycopy_assets.assets.pages import (
    AUDIT_PAGE,
    AUTOMATION,
    CHECKS_PAGE,
    LEADERBOARD_PAGE,
    MARKETS_PAGE,
    RECONCILIATION_PAGE,
    WITNESS_PAGE,
    scattered,
)
from polycopy_assets.assets.wallet_rows import wallet_rows
from polycopy_assets.checks.holdings import NAME as HOLDINGS_CHECK
from polycopy_assets.checks.store import NAME as AUDIT_CHECK
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.guard.ours import OUR_TAGS, Job, job_of, load_sensor
from polycopy_assets.record.asset_keys import asset_keys

AssetJob = Any
"""What `dg.define_asset_job` returns; the class is private to Dagster."""

_DAY = 86_400


@cache
def fetch(feed: Feed) -> dg.JobDefinition:
    """The job that fetches `feed`.

    Not a job of the asset: Dagster would ask for a partition, and take none for a mistake.
    """
    op = wallet_rows(feed).op
    of = "" if feed.bare else f" of the {feed.label}"
    return dg.GraphDefinition(name=job_of(Job.FETCH, feed), node_defs=[op]).to_job(
        description=f"Fetches wallets{of} from the source into the store and records them.\n\n"
        "One run fetches all wallets that the configuration selects, however scattered: "
        "*Launchpad*. As it opens (`select: chosen`, no `wallets`) it fetches what remains.\n\n"
        + scattered(feed),
        config={"ops": {op.name: {"config": {"select": "chosen", "wallets": []}}}},
        executor_def=dg.in_process_executor,
        tags=OUR_TAGS,
    )


@cache
def load(feed: Feed) -> AssetJob:
    """The job that loads `feed`."""
    return dg.define_asset_job(
        job_of(Job.LOAD, feed),
        selection=[feed.assets.combined, feed.assets.table],
        description="Combines what is new, loads it into the table, and checks the table.\n\n"
        f"The sensor `{load_sensor(feed)}` starts it.\n\n" + AUTOMATION,
        executor_def=dg.in_process_executor,
        tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 4)},
    )


@cache
def reconcile(feed: Feed) -> AssetJob:
    """The job that reconciles `feed`."""
    checkpoint = ", checkpoint" if feed.bare else ""
    return dg.define_asset_job(
        job_of(Job.RECONCILE, feed),
        selection=[feed.own("reconciliation")],
        description=f"Compares record, store{checkpoint} and table.\n\n"
        "With `apply: true` it acts on its findings. Nothing starts it by itself.\n\n"
        + RECONCILIATION_PAGE,
        executor_def=dg.in_process_executor,
        tags=OUR_TAGS,
    )


def check(feeds: Sequence[Feed]) -> AssetJob:
    """The job that checks the wallets of `feeds`."""
    return dg.define_asset_job(
        Job.CHECK.value,
        selection=dg.AssetSelection.checks_for_assets("traders") - _audits(feeds),
        description="Checks the wallets: which failed, and which are late.\n\n"
        "Sends nothing to the source or the warehouse. The sensor `checks_due` starts it.\n\n"
        + CHECKS_PAGE,
        executor_def=dg.in_process_executor,
        tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 24)},
    )


def audit(feeds: Sequence[Feed]) -> AssetJob:
    """The job that compares store and record of `feeds`."""
    return dg.define_asset_job(
        Job.AUDIT.value,
        selection=_audits(feeds),
        description="Compares the store's listing with the record. Changes no data.\n\n"
        "On a local store it also reads a share of the segments again. The schedule `daily_audit` "
        "starts it.\n\n" + AUDIT_PAGE,
        executor_def=dg.in_process_executor,
        tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 2)},
    )


def _audits(feeds: Sequence[Feed]) -> dg.AssetSelection:
    traders = dg.AssetKey("traders")
    return dg.AssetSelection.checks(
        *(dg.AssetCheckKey(traders, feed.own(AUDIT_CHECK)) for feed in feeds)
    )


witness = dg.define_asset_job(
    Job.WITNESS.value,
    selection=["source_counts"],
    description="Compares the source's own count of a wallet's trades with the table.\n\n"
    "One request per wallet. Without configuration: 200 wallets, least recently compared first. "
    "The schedule `daily_witness` starts it.\n\n" + WITNESS_PAGE,
    executor_def=dg.in_process_executor,
    tags=OUR_TAGS,
)

leaderboard = dg.define_asset_job(
    Job.LEADERBOARD.value,
    selection=["leaderboard"],
    description="Keeps today's snapshot of the source's leaderboard.\n\n"
    "Adds who is wanted of it to `traders`. Repeated on the same day, it reads no board. The "
    "schedule `daily_leaderboard` starts it.\n\n" + LEADERBOARD_PAGE,
    executor_def=dg.in_process_executor,
    tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 4)},
)


def markets(feeds: Sequence[Feed]) -> AssetJob:
    """The job that updates tokens and markets, and then checks what needs them and one of `feeds`.

    A load runs that check too. But the first load comes before there are tokens and markets, and
    what they say of a redemption changes without any new row.
    """
    holdings = dg.AssetCheckKey(asset_keys(ACTIVITY).table, HOLDINGS_CHECK)
    of_ledger = dg.AssetSelection.checks(*([holdings] if ACTIVITY in feeds else []))
    return dg.define_asset_job(
        Job.MARKETS.value,
        selection=dg.AssetSelection.assets("tokens", "markets") | of_ledger,
        description="Keeps the tables `tokens` and `markets` up to date.\n\n"
        "Asks for every condition in `trades` that is new, or of which something may still change."
        " The schedule `daily_markets` starts it.\n\n" + MARKETS_PAGE,
        executor_def=dg.in_process_executor,
        tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 2)},
    )
