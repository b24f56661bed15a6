"""Turns: what must not be done twice at once in a deployment, whoever starts it.

Dagster's queue keeps runs of one pool apart, but a run that a command starts in its own process
does not go through the queue. So the step itself takes the place of its pool, in the table of
Dagster's storage where pools have theirs; the UI shows who holds it (Deployment, Concurrency).

That table cannot tell whether who lost the place has stopped. Deleting a run frees its place at
once, and so does the end of a run whose process lives on: frozen, or not told yet. So who is at
work is noted beside it, and who comes next waits until that one has said that it stopped, is gone,
or surely does nothing any more: a lease (`liveness.LEASE_SECONDS`) that it has not renewed.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import dagster as dg
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from polycopy_assets import liveness
from polycopy_assets.instance import alone
from polycopy_assets.ours import OUR_STEPS, is_ours
from polycopy_assets.progress import Progress

SOURCE = "source"
"""Asking the source: one fetch at a time keeps the request budget."""

WAREHOUSE = "warehouse"
"""Combining and loading: one at a time."""

_POLL_SECONDS = 2.0
_SAY_SECONDS = 60.0
_HELD = "held"


@contextmanager
def turn(context: dg.AssetExecutionContext, pool: str, progress: Progress) -> Iterator[float]:
    """Waits for the turn, and holds it; yields for how many seconds nobody had held it.

    The wait ends when the run that holds the turn ends, or is found dead, and its process does
    nothing any more. After a holder that died nobody knows until when it was at work: that counts
    as 0 s. While it waits, `progress` and the run's log say for whom.
    """
    instance, run_id = context.instance, context.run.run_id
    step = str(context.op_execution_context.op_handle)
    storage = instance.event_log_storage
    if _held_for(context, pool):
        holder = _note(instance, pool).holder
        with _noted(instance, pool, holder, afterwards=holder) as idle:
            yield idle
        return
    with alone(instance.root_directory):
        if pool not in storage.get_concurrency_keys():
            storage.set_concurrency_slots(pool, 1)
    waiting = _Waiting(context, progress)
    try:
        while not _claimed(instance, pool, run_id, step):
            _free_the_dead(instance, pool)
            waiting.go_on(_holders(instance, pool))
        _until_the_last_has_stopped(instance, pool, waiting)
        waiting.end()
        with _noted(instance, pool, liveness.worker(run_id)) as idle:
            yield idle
    finally:
        with alone(instance.root_directory):
            storage.free_concurrency_slot_for_step(run_id, step)


class _Waiting:
    """Waits a little, again and again, and says now and then for whom."""

    def __init__(self, context: dg.AssetExecutionContext, progress: Progress) -> None:
        self._log = context.log
        self._progress = progress
        self._said = 0.0

    def go_on(self, who: str) -> None:
        if not self._said or time.monotonic() - self._said > _SAY_SECONDS:
            self._said = time.monotonic()
            self._progress.begin(f"waits for its turn: {who}")
            self._log.info(self._progress.step)
        time.sleep(_POLL_SECONDS)

    def end(self) -> None:
        if self._said:
            self._progress.begin("")


def _held_for(context: dg.AssetExecutionContext, pool: str) -> bool:
    """Whether the run that started this one, in its own process, holds the turn meanwhile."""
    holder = context.run.tags.get(liveness.FOR_TAG)
    info = context.instance.event_log_storage.get_concurrency_info(pool)
    return holder is not None and holder in info.active_run_ids


def _claimed(instance: dg.DagsterInstance, pool: str, run_id: str, step: str) -> bool:
    # On SQLite the storage's own claim is a look and then a write, which two processes can cross.
    with alone(instance.root_directory):
        return instance.event_log_storage.claim_concurrency_slot(pool, run_id, step).is_claimed


def _free_the_dead(instance: dg.DagsterInstance, pool: str) -> None:
    """Frees the places of our runs that have ended; Dagster frees those of other locations."""
    liveness.end_dead_runs(instance)
    info = instance.event_log_storage.get_concurrency_info(pool)
    # A run killed between being next and taking its place is neither at it nor waiting.
    places = (*info.claimed_slots, *info.pending_steps)
    for run_id, step in {(place.run_id, place.step_key) for place in places}:
        run = instance.get_run_by_id(run_id)
        # Of a run that was deleted nothing is left but which step took the place.
        over = step in OUR_STEPS if run is None else run.is_finished and is_ours(run)
        if over:
            with alone(instance.root_directory):
                instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    _let_the_next_in(instance, pool)


def _let_the_next_in(instance: dg.DagsterInstance, pool: str) -> None:
    """Assigns a place that is free although somebody waits for it.

    Dagster assigns a freed place once, to who waits at that moment. Who asked while the place was
    still taken, and was written down after it was freed, would wait for ever.
    """
    storage = instance.event_log_storage
    with alone(instance.root_directory):
        if isinstance(storage, SqlEventLogStorage) and storage.has_unassigned_slots(pool):
            storage.assign_pending_steps([pool])


def _holders(instance: dg.DagsterInstance, pool: str) -> str:
    info = instance.event_log_storage.get_concurrency_info(pool)
    runs = [instance.get_run_by_id(run_id) for run_id in sorted(info.active_run_ids)]
    named = [_named(run, pool) for run in runs if run]
    return ", ".join(named) + " is at it" if named else "others were first"


def _named(run: dg.DagsterRun, pool: str) -> str:
    foreign = "" if is_ours(run) else f" of another code location, which uses the pool `{pool}` too"
    return f"run {run.run_id[:8]} ({run.job_name}{foreign})"


def _until_the_last_has_stopped(instance: dg.DagsterInstance, pool: str, waiting: _Waiting) -> None:
    """Waits for a process that lost the place and has not said yet that it stopped."""
    last, since = "", 0.0
    while (holder := _note(instance, pool).holder) and not liveness.gone(holder):
        now = time.monotonic()
        if holder != last:
            last, since = holder, now
        if now - since >= liveness.LEASE_SECONDS:
            return
        waiting.go_on(f"run {holder} has ended, but its process may be at it still")


class _Note(NamedTuple):
    """Who has the pool (`worker` of its run; nobody: empty), and since when nobody works in it.

    `since` is epoch seconds, None while somebody works, and 0 if nobody ever has.
    """

    since: float | None
    holder: str


@contextmanager
def _noted(
    instance: dg.DagsterInstance, pool: str, holder: str, *, afterwards: str = ""
) -> Iterator[float]:
    """Notes that `holder` works, and until when; yields for how many seconds nobody did.

    Who has lost the turn meanwhile leaves the note of the one that has it now.
    """
    with alone(instance.root_directory):
        since = _note(instance, pool).since
        _write(instance, pool, _HELD, holder)
    try:
        yield 0.0 if since is None else max(0.0, time.time() - since)
    finally:
        with alone(instance.root_directory):
            if _note(instance, pool).holder == holder:
                _write(instance, pool, str(time.time()), afterwards)


def _key(pool: str) -> str:
    return f"polycopy/turn/{pool}"


def _note(instance: dg.DagsterInstance, pool: str) -> _Note:
    state = instance.daemon_cursor_storage.get_cursor_values({_key(pool)}).get(_key(pool), "0")
    since, _, holder = state.partition(" ")
    return _Note(None if since == _HELD else float(since), holder)


def _write(instance: dg.DagsterInstance, pool: str, since: str, holder: str) -> None:
    instance.daemon_cursor_storage.set_cursor_values({_key(pool): f"{since} {holder}".strip()})
