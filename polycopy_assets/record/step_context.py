"""The context of a step: of an asset, or of an op that is not run as one.

The job `fetch` runs the op of `wallet_trades` in a job without partitions; Dagster's backfills run
the same op as the asset.
"""

import dagster as dg

StepContext = dg.AssetExecutionContext | dg.OpExecutionContext


def of_op(context: StepContext) -> dg.OpExecutionContext:
    """The context of the op, which the one of an asset has inside."""
    if isinstance(context, dg.AssetExecutionContext):
        return context.op_execution_context
    return context
