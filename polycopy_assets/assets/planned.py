"""Makes wallets that failed in a run without partitions visible as failed partitions.

Dagster calls a partition failed that a failed run had planned and did not materialize. A run over
chosen partitions has planned them before it starts; a run that finds its wallets by itself has
not, so a wallet is planned when it has failed. The events are written through
an internal interface, pinned by a test.
"""

import dagster as dg
from dagster import DagsterEvent
from dagster._core.events import AssetMaterializationPlannedData


def mark_planned(context: dg.AssetExecutionContext, wallet: str) -> None:
    """Notes that this run meant to materialize `wallet`."""
    context.instance.report_dagster_event(
        DagsterEvent.build_asset_materialization_planned_event(
            job_name=context.job_name,
            step_key=str(context.op_execution_context.op_handle),
            asset_materialization_planned_data=AssetMaterializationPlannedData(
                asset_key=context.asset_key, partition=wallet
            ),
        ),
        run_id=context.run.run_id,
    )
