"""Makes wallets that failed in a run without partitions visible as failed partitions.

Dagster marks a partition as failed if a failed run had planned it and did not materialize it. A run
over chosen partitions plans them before it starts. A run that selects its wallets itself does not,
so it plans a wallet when the wallet has failed.

Private: `AssetMaterializationPlannedData` and the event that carries it have no public
constructor. Pinned by `dagster/test_runs.py`.
"""

import dagster as dg
from dagster import DagsterEvent
from dagster._core.events import AssetMaterializationPlannedData

from polycopy_assets.record.step_context import StepContext, of_op


def mark_attempted(context: StepContext, asset_key: dg.AssetKey, wallet: str) -> None:
    """Notes that this run meant to materialize `wallet`."""
    context.instance.report_dagster_event(
        DagsterEvent.build_asset_materialization_planned_event(
            job_name=context.job_name,
            step_key=str(of_op(context).op_handle),
            asset_materialization_planned_data=AssetMaterializationPlannedData(
                asset_key=asset_key, partition=wallet
            ),
        ),
        run_id=context.run.run_id,
    )
