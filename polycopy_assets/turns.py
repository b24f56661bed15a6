"""Turns: what must not be done twice at once in a deployment, whoever starts it.

Dagster's queue keeps runs of one pool apart, but a run that a command starts in its own process
does not go through the queue. So the step itself takes the place of its pool, in the table of
Dagster's storage where pools have theirs; the UI shows who holds it (Deployment, Concurrency).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from polycopy_assets.instance import alone
from polycopy_assets.liveness import end_dead_runs
from polycopy_assets.progress import Progress

SOURCE = "source"
"""Asking the source: one fetch at a time keeps the request budget."""

WAREHOUSE = "warehouse"
"""Combining and loading: one at a time."""

FOR_TAG = "polycopy/for"
"""The tag of a run that another one has started in its own process: which."""

_POLL_SECONDS = 2.0
_SAY_SECONDS = 60.0
_HELD = "held"


@contextmanager
def turn(context: dg.AssetExecutionContext, pool: str, progress: Progress) -> Iterator[float]:
    """Waits for the turn, and holds it; yields for how many seconds nobody had held it.

    The wait ends when the run that holds the turn ends, or is found dead. After a holder that died
    nobody knows until when it was at work: that counts as 0 s. While it waits, `progress` and the
    run's log say for whom.
    """
    instance, run_id = context.instance, context.run.run_id
    step = str(context.op_execution_context.op_handle)
    storage = instance.event_log_storage
    if _held_for(context, pool):
        with _noted(instance, pool) as idle:
            yield idle
        return
    with alone(instance.root_directory):
        if pool not in storage.get_concurrency_keys():
            storage.set_concurrency_slots(pool, 1)
    said = 0.0
    try:
        while not _claimed(instance, pool, run_id, step):
            _free_the_dead(instance, pool)
            if not said or time.monotonic() - said > _SAY_SECONDS:
                said = time.monotonic()
                progress.begin(f"waits for its turn: {_holders(instance, pool)}")
                context.log.info(progress.step)
            time.sleep(_POLL_SECONDS)
        if said:
            progress.begin("")
        with _noted(instance, pool) as idle:
            yield idle
    finally:
        storage.free_concurrency_slot_for_step(run_id, step)


def _held_for(context: dg.AssetExecutionContext, pool: str) -> bool:
    """Whether the run that started this one, in its own process, holds the turn meanwhile."""
    holder = context.run.tags.get(FOR_TAG)
    info = context.instance.event_log_storage.get_concurrency_info(pool)
    return holder is not None and holder in info.active_run_ids


@contextmanager
def _noted(instance: dg.DagsterInstance, pool: str) -> Iterator[float]:
    """Notes that the pool is at work, and until when; yields how long it was not."""
    idle = _idle(instance, pool)
    _note(instance, pool, _HELD)
    try:
        yield idle
    finally:
        _note(instance, pool, str(time.time()))


def _claimed(instance: dg.DagsterInstance, pool: str, run_id: str, step: str) -> bool:
    # On SQLite the storage's own claim is a look and then a write, which two processes can cross.
    with alone(instance.root_directory):
        return instance.event_log_storage.claim_concurrency_slot(pool, run_id, step).is_claimed


def _free_the_dead(instance: dg.DagsterInstance, pool: str) -> None:
    end_dead_runs(instance)
    info = instance.event_log_storage.get_concurrency_info(pool)
    # A run killed between being next and taking its place is neither at it nor waiting.
    for run_id in {*info.active_run_ids, *info.assigned_run_ids, *info.pending_run_ids}:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _holders(instance: dg.DagsterInstance, pool: str) -> str:
    info = instance.event_log_storage.get_concurrency_info(pool)
    runs = [instance.get_run_by_id(run_id) for run_id in sorted(info.active_run_ids)]
    named = [f"run {run.run_id[:8]} ({run.job_name})" for run in runs if run]
    return ", ".join(named) + " is at it" if named else "others were first"


def _key(pool: str) -> str:
    return f"polycopy/turn/{pool}"


def _note(instance: dg.DagsterInstance, pool: str, state: str) -> None:
    instance.daemon_cursor_storage.set_cursor_values({_key(pool): state})


def _idle(instance: dg.DagsterInstance, pool: str) -> float:
    state = instance.daemon_cursor_storage.get_cursor_values({_key(pool)}).get(_key(pool))
    if state is None:
        return float("inf")
    return 0.0 if state == _HELD else max(0.0, time.time() - float(state))
