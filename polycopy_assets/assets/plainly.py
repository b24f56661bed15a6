"""Errors of ours end a step with their message alone, without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dagster as dg

from polycopy_assets.errors import (
    DatabaseBusy,
    PolycopyError,
    Stopped,
    WarehouseBusy,
    with_notes,
)
from polycopy_assets.record.step_context import StepContext

PAUSE_SECONDS = 15.0
TRIES_AGAIN = 1
STOPPED_TAG = "polycopy/stopped"
"""The tag of a run that stopped itself: why."""


@contextmanager
def failing_plainly(context: StepContext) -> Iterator[None]:
    """Turns an error of ours into the step's failure, described by its message.

    If another process holds the DuckDB file, the step is tried once more, after the run's other
    steps; each try waits as long as the warehouse does.
    """
    try:
        yield
    except WarehouseBusy as error:
        if context.retry_number >= TRIES_AGAIN:
            raise _failure(error) from error
        context.log.warning(f"{error}. Trying again in {PAUSE_SECONDS:.0f} s")
        raise dg.RetryRequested(max_retries=TRIES_AGAIN, seconds_to_wait=PAUSE_SECONDS) from error
    except Stopped as error:
        # As if Dagster itself had interrupted the run: if someone ended the run, it keeps that
        # status; otherwise Dagster retries it.
        context.log.error(str(error))  # noqa: TRY400 - the message is whole
        with suppress(DatabaseBusy):
            context.instance.add_run_tags(context.run.run_id, {STOPPED_TAG: str(error)})
        raise dg.DagsterExecutionInterruptedError(str(error)) from error
    except PolycopyError as error:
        raise _failure(error) from error


def _failure(error: PolycopyError) -> dg.Failure:
    return dg.Failure(description=with_notes(error), metadata={"kind": str(error.kind)})
