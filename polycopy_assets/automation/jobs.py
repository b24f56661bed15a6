"""The jobs. Fetching has a run of its own; so have combining and loading.

`wallet_trades` has no output (see `assets/wallet_trades.py`), so later steps in the same run would
be skipped silently.
"""

import dagster as dg

from polycopy_assets.assets.pages import (
    AUDIT_PAGE,
    AUTOMATION,
    CHECKS_PAGE,
    LEADERBOARD_PAGE,
    MARKETS_PAGE,
    RECONCILIATION_PAGE,
    SCATTERED,
    WITNESS_PAGE,
)
from polycopy_assets.assets.wallet_trades import wallet_trades
from polycopy_assets.guard.ours import OUR_TAGS, Job

_DAY = 86_400

fetch = dg.GraphDefinition(name=Job.FETCH.value, node_defs=[wallet_trades.op]).to_job(
    description="Fetches wallets from the source into the store and records them.\n\n"
    "One run fetches all wallets that the configuration selects, however scattered: *Launchpad*. "
    "As it opens (`select: chosen`, no `wallets`) it fetches what remains.\n\n" + SCATTERED,
    config={"ops": {"wallet_trades": {"config": {"select": "chosen", "wallets": []}}}},
    executor_def=dg.in_process_executor,
    tags=OUR_TAGS,
)
"""Not a job of the asset: Dagster would ask for a partition, and take none for a mistake."""

load = dg.define_asset_job(
    Job.LOAD.value,
    selection=["combined_trades", "trades"],
    description="Combines what is new, loads it into the table, and checks the table.\n\n"
    "The sensor `new_trades` starts it.\n\n" + AUTOMATION,
    executor_def=dg.in_process_executor,
    tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 4)},
)

_AUDIT = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("traders"), "store_has_the_record"))

check = dg.define_asset_job(
    Job.CHECK.value,
    selection=dg.AssetSelection.checks_for_assets("traders") - _AUDIT,
    description="Checks the wallets: which failed, and which are late.\n\n"
    "Sends nothing to the source or the warehouse. The sensor `checks_due` starts it.\n\n"
    + CHECKS_PAGE,
    executor_def=dg.in_process_executor,
    tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 24)},
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

markets = dg.define_asset_job(
    Job.MARKETS.value,
    selection=["tokens", "markets"],
    description="Keeps the tables `tokens` and `markets` up to date.\n\n"
    "Asks for every condition in `trades` that is new, or of which something may still change. The "
    "schedule `daily_markets` starts it.\n\n" + MARKETS_PAGE,
    executor_def=dg.in_process_executor,
    tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 2)},
)

audit = dg.define_asset_job(
    Job.AUDIT.value,
    selection=_AUDIT,
    description="Compares the store's listing with the record. Changes no data.\n\n"
    "On a local store it also reads a share of the segments again. The schedule `daily_audit` "
    "starts it.\n\n" + AUDIT_PAGE,
    executor_def=dg.in_process_executor,
    tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 2)},
)

reconcile = dg.define_asset_job(
    Job.RECONCILE.value,
    selection=["reconciliation"],
    description="Compares record, store, checkpoint and table.\n\n"
    "With `apply: true` it acts on its findings. Nothing starts it by itself.\n\n"
    + RECONCILIATION_PAGE,
    executor_def=dg.in_process_executor,
    tags=OUR_TAGS,
)
