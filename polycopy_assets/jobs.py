"""The jobs: fetch alone in its run, combine and load in a run of their own, and reconcile.

`wallet_trades` has no output (see `assets/wallet_trades.py`), so whatever stood behind it in the
same run would be skipped without a word.
"""

import dagster as dg

fetch = dg.define_asset_job(
    "fetch",
    selection=["wallet_trades"],
    description="Fetches wallets from the source into the store and records them.",
    executor_def=dg.in_process_executor,
)

reconcile = dg.define_asset_job(
    "reconcile",
    selection=["reconciliation"],
    description="Compares record, store, checkpoint and table; with `apply: true` acts on what it "
    "finds.",
    executor_def=dg.in_process_executor,
)

load = dg.define_asset_job(
    "load",
    selection=["combined_trades", "trades"],
    description="Combines what is new, loads it into the table, and checks the table.",
    executor_def=dg.in_process_executor,
)
