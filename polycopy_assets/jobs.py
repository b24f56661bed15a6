"""The jobs: fetch alone in its run, combine and load in a run of their own, and the others.

`wallet_trades` has no output (see `assets/wallet_trades.py`), so whatever stood behind it in the
same run would be skipped without a word.
"""

import dagster as dg

from polycopy_assets.ours import OUR_TAGS

_DAY = 86_400

fetch = dg.define_asset_job(
    "fetch",
    selection=["wallet_trades"],
    description="Fetches wallets from the source into the store and records them. Launched without "
    "a partition it fetches what the configuration selects in one run, however scattered.",
    executor_def=dg.in_process_executor,
    tags=OUR_TAGS,
)

load = dg.define_asset_job(
    "load",
    selection=["combined_trades", "trades"],
    description="Combines what is new, loads it into the table, and checks the table.",
    executor_def=dg.in_process_executor,
    tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 4)},
)

_AUDIT = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("traders"), "store_has_the_record"))

check = dg.define_asset_job(
    "check",
    selection=dg.AssetSelection.checks_for_assets("traders") - _AUDIT,
    description="What is wrong with wallets right now; asks neither source nor warehouse.",
    executor_def=dg.in_process_executor,
    tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 24)},
)

witness = dg.define_asset_job(
    "witness",
    selection=["source_counts"],
    description="Asks the source how many trades of a wallet it counts, one request a wallet, and "
    "compares with the table. Without configuration: 200 wallets, least recently asked first.",
    executor_def=dg.in_process_executor,
    tags=OUR_TAGS,
)

audit = dg.define_asset_job(
    "audit",
    selection=_AUDIT,
    description="Compares the store's listing with the record, and reads a share of the store "
    "again. Changes nothing.",
    executor_def=dg.in_process_executor,
    tags={**OUR_TAGS, "dagster/max_runtime": str(_DAY // 2)},
)

reconcile = dg.define_asset_job(
    "reconcile",
    selection=["reconciliation"],
    description="Compares record, store, checkpoint and table; with `apply: true` acts on what it "
    "finds.",
    executor_def=dg.in_process_executor,
    tags=OUR_TAGS,
)
