"""Materializations of a running step, many at a time.

`context.log_event` writes one event at a time: 4 ms on SQLite, 19 ms on Postgres while requests run
beside it. What is stored here is equal, field by field but for those that say a thing twice,
because Dagster's own code makes the events: it is given a step whose log keeps them. They do not
pass through the run's loggers, so the console and the captured output do not show them; the run's
page does.

A batch may be lost as a whole when the process is killed. So it is for events whose data is
durable, which the next run finds in the store.

Private: `DagsterEvent.asset_materialization` has no public name; `get_step_execution_context` is
meant for frameworks. Pinned by `dagster/test_run_events.py`.
"""

from collections.abc import Sequence
from time import time
from typing import Any, cast

import dagster as dg
from dagster import DagsterEvent, EventLogEntry

from polycopy_assets.record.private.database import event_log
from polycopy_assets.record.private.event_batches import store_batch
from polycopy_assets.record.step_context import StepContext, of_op


def write(
    context: StepContext,
    materializations: Sequence[dg.AssetMaterialization],
    lines: Sequence[str] = (),
) -> None:
    """Writes materializations of the step of `context`, in their order: all of them or none.

    `lines`, one for each, are what the run's page says of them instead of "Materialized value".
    """
    step = _StepThatKeeps(context)
    for each in materializations:
        DagsterEvent.asset_materialization(cast("Any", step), each)
    kept = [_saying(*each) for each in zip(step.kept, lines, strict=True)] if lines else step.kept
    store_batch(event_log(context.instance), kept)


def _saying(entry: EventLogEntry, line: str) -> EventLogEntry:
    event = entry.get_dagster_event()._replace(message=line)
    return entry._replace(user_message=line, dagster_event=event)


_LEFT_OUT: dict[str, Any] = {"logging_tags": {}, "step_handle": None, "node_handle": None}
"""The fields of an event that only say again what its step key says: 500 bytes of each record."""


class _StepThatKeeps:
    """What Dagster needs of a step to make an event, with a log that keeps the event."""

    def __init__(self, context: StepContext) -> None:
        step = of_op(context).get_step_execution_context()
        self._run = context.run
        self.job_name = step.job_name
        self.step = step.step
        self.event_tags = step.event_tags
        self.log = self
        self.kept: list[EventLogEntry] = []

    def log_dagster_event(
        self, level: int, msg: str, dagster_event: DagsterEvent, batch_metadata: object
    ) -> None:
        """Keeps an event as the run's log would store it."""
        del batch_metadata
        self.kept.append(
            EventLogEntry(
                error_info=None,
                level=level,
                user_message=msg,
                run_id=self._run.run_id,
                timestamp=time(),
                step_key=self.step.key,
                job_name=self._run.job_name,
                dagster_event=dagster_event._replace(**_LEFT_OUT),
            )
        )
