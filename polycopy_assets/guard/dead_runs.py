"""Ends dead runs as failed: runs of ours that have begun and whose lock is free.

Dagster's default launcher cannot tell whether a run's worker still exists, and a dead run blocks
its wallets and its pool. Nothing that it recorded is lost, and Dagster's retries start it again.
"""

import time
from collections.abc import Callable

import dagster as dg

from polycopy_assets.guard.heartbeat import has_taken_its_lock, run_lock
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import Locks
from polycopy_assets.guard.older_runs import is_older, silent
from polycopy_assets.guard.ours import our_runs

BEGIN_SECONDS = 180.0
"""Seconds within which a run that Dagster has started must take its lock.

Ending a run too early does no harm: before it begins, it checks whether it was ended.
"""

_STARTED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
_UNFINISHED = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, *_STARTED]


def end_dead_runs(
    instance: dg.DagsterInstance, now: Callable[[], float] = time.time
) -> dict[str, str]:
    """Ends our dead runs; returns why, by run id.

    They count as failed, or as cancelled if a person had asked them to stop.
    """
    locks, ended = instance_locks(instance), {}
    for record in our_runs(instance, dg.RunsFilter(statuses=_UNFINISHED)):
        run_id = record.dagster_run.run_id
        older = is_older(record.dagster_run)
        why = silent(instance, record, now()) if older else _dead(locks, record, now())
        if why and _end(instance, run_id, why):
            ended[run_id] = why
    return ended


def _dead(locks: Locks, record: dg.RunRecord, now: float) -> str:
    """Why the run is dead; empty if it is alive, or Dagster has yet to start it."""
    run = record.dagster_run
    name = run_lock(run.run_id)
    begun = has_taken_its_lock(run)
    if not begun and not _overdue(record, now):
        return ""
    if locks.holder(name) is not None:
        return ""
    return "the process that ran it has ended" if begun else "it never began"


def _overdue(record: dg.RunRecord, now: float) -> bool:
    """Whether a run without a lock was started so long ago that it should have one."""
    if record.dagster_run.status not in _STARTED:
        return False
    return now - (record.start_time or now) >= BEGIN_SECONDS


def _end(instance: dg.DagsterInstance, run_id: str, why: str) -> bool:
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return False  # it has ended since it was listed
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, why)
    else:
        instance.report_run_failed(run, why)
    return True
