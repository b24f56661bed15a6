"""Writes events of a step, and keeps none of them in memory.

Dagster writes an event of `log_event` at once, and also keeps it until the step yields something or
ends: a fetch of 100,000 wallets would keep as many records. Nobody reads those copies.

`consume_events`, which empties that list, is meant for Dagster itself. Pinned by
`dagster/test_fetch_config.py`.
"""

from collections.abc import Sequence

import dagster as dg

from polycopy_assets.record.private import run_events
from polycopy_assets.record.step_context import StepContext, of_op

Event = dg.AssetMaterialization | dg.AssetObservation


def log_event(context: StepContext, event: Event) -> None:
    """Writes `event` into the event log; it is there when this returns."""
    context.log_event(event)
    for _ in of_op(context).consume_events():
        pass


def log_materializations(
    context: StepContext,
    materializations: Sequence[dg.AssetMaterialization],
    lines: Sequence[str] = (),
) -> None:
    """Writes all of `materializations`, in their order, or none; they are there when this returns.

    Only for materializations whose data is durable: see `record.private.run_events`. `lines`, one
    for each, are what the run's page says of them; they are no part of the record.
    """
    if materializations:
        run_events.write(context, materializations, lines)
