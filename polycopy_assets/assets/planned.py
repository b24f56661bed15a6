"""Makes wallets that failed in a run without partitions visible as failed partitions.

Dagster calls a partition failed that a failed run had planned and did not materialize. A run over
chosen partitions has planned them before it starts; a run that finds its wallets by itself has
not, so the wallets that failed are planned when they have failed. The events are written through
an internal interface, pinned by a test.
"""

from collections.abc import Iterable

import dagster as dg
from dagster import DagsterEvent
from dagster._core.events import AssetMaterializationPlannedData

from polycopy_assets.record import WALLET_TRADES


def mark_planned(context: dg.AssetExecutionContext, wallets: Iterable[str]) -> None:
    """Notes for each of `wallets` that this run meant to materialize it."""
    for wallet in wallets:
        context.instance.report_dagster_event(
            DagsterEvent.build_asset_materialization_planned_event(
                job_name=context.job_name,
                step_key=str(context.op_execution_context.op_handle),
                asset_materialization_planned_data=AssetMaterializationPlannedData(
                    asset_key=WALLET_TRADES, partition=wallet
                ),
            ),
            run_id=context.run.run_id,
        )
