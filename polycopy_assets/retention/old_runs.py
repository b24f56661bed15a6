"""Which runs are old enough to be cleared: ours, ended, and needed by nothing that goes on."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

import dagster as dg

from polycopy_assets.guard.ours import is_ours
from polycopy_assets.record.private.stored_events import PAGE

SETTLE_SECONDS = 600.0
"""How long after its end a run is left alone, whatever was asked for: the command that started it
reads its report, and Dagster decides whether to start it again."""

_ENDED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _ENDED]
_BACKFILL_TAG = "dagster/backfill"
_BACKFILL_GOES_ON = frozenset({"REQUESTED", "CANCELING", "FAILING"})


def old_runs(instance: dg.DagsterInstance, cutoff: float, kept: Collection[str]) -> Iterator[str]:
    """Our runs that ended before `cutoff` (epoch seconds), oldest first, but for those in `kept`.

    Runs of a backfill that goes on, and runs that a retry under way began with, are left alone.
    """
    backfills: dict[str, bool] = {}
    families = _families_under_way(instance)
    found = []
    for record in _ended(instance, cutoff):
        run = record.dagster_run
        ended = record.end_time or record.update_timestamp.timestamp()
        if ended >= cutoff or run.run_id in kept or not is_ours(run):
            continue
        if {run.run_id, run.root_run_id} & families:
            continue
        backfill = run.tags.get(_BACKFILL_TAG)
        if backfill and backfill not in backfills:
            backfills[backfill] = _goes_on(instance, backfill)
        if not (backfill and backfills[backfill]):
            found.append(run.run_id)
    yield from reversed(found)


def _ended(instance: dg.DagsterInstance, cutoff: float) -> Iterator[dg.RunRecord]:
    wanted = dg.RunsFilter(statuses=_ENDED, created_before=datetime.fromtimestamp(cutoff, UTC))
    cursor = None
    while page := instance.get_run_records(wanted, limit=PAGE, cursor=cursor):
        yield from page
        cursor = page[-1].dagster_run.run_id


def _families_under_way(instance: dg.DagsterInstance) -> set[str]:
    """The unfinished runs, and the runs that they repeat."""
    found: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        found |= {each for each in (run.run_id, run.root_run_id, run.parent_run_id) if each}
    return found


def _goes_on(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    backfill = instance.get_backfill(backfill_id)
    return backfill is not None and backfill.status.value in _BACKFILL_GOES_ON
