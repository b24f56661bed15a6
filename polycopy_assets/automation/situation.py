"""The situation that the policies need, read from Dagster's own record."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from polycopy_assets.assets.step_record import FAILED_TAG, RECORDED_TAG, down_at
from polycopy_assets.automation import policy
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.guard.ours import (
    OUR_JOBS,
    STARTED_BY_TAG,
    Job,
    fetch_sensor,
    job_of,
    our_runs,
)
from polycopy_assets.record import attempts, refetching
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.loads import RECORD
from polycopy_assets.record.partitions import registered
from polycopy_assets.system import clock
from polycopy_assets.trades.segment import record_digest

_HISTORY = 25

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
DAILY_REFRESH = "daily_refresh"
"""The schedule that refreshes every wallet. One that was never switched on has no state."""


_BACKFILL_TAG = "dagster/backfill"
_RECONCILE = frozenset(job_of(Job.RECONCILE, feed) for feed in FEEDS.values())
_FETCH_OR_LOAD = frozenset(
    job_of(job, feed) for feed in FEEDS.values() for job in (Job.FETCH, Job.LOAD)
)
_KEYS = [asset_keys(feed) for feed in FEEDS.values()]
_WORK = frozenset(key for keys in _KEYS for key in (keys.wallets, keys.table))
"""The assets of all feeds: those that are fetched share one lock and one budget."""


def started_by_sensor(feed: Feed) -> dict[str, str]:
    """The tag of the runs that the sensor of `feed` starts.

    Other runs are ignored: if a person started and stopped a run, that says nothing about the
    source.
    """
    return {STARTED_BY_TAG: fetch_sensor(feed)}


def fetch_situation(record: FeedRecord) -> policy.FetchSituation:
    """What decides whether to fetch the feed of `record`."""
    instance = record.instance
    complete = refetching.complete(record)
    wallets = registered(instance)
    remaining = [wallet for wallet in wallets if wallet not in complete]
    tried = attempts.latest(record, wallets)
    due = attempts.due_of(remaining, tried)
    exhausted = sum(each.due is None for each in tried.values())
    empty_runs = []
    for ended in _fetches_ended(instance, record.feed):
        run, tags = ended.dagster_run, ended.dagster_run.tags
        if (down := down_at(run)) is not None:
            empty_runs.append(down)
        elif run.job_name in _RECONCILE and RECORDED_TAG not in tags:
            continue  # it may have fetched nothing
        elif run.is_success or FAILED_TAG in tags or RECORDED_TAG in tags:
            break
        elif started_by_sensor(record.feed).items() <= tags.items():
            empty_runs.append(ended_at(ended))
    return policy.FetchSituation(
        due=len(due),
        waiting=len({*remaining, *tried}) - len(due) - exhausted,
        exhausted=exhausted,
        under_way=_fetching(instance),
        empty_runs=empty_runs,
    )


def load_situation(record: FeedRecord) -> policy.LoadSituation:
    """What decides whether to load the feed of `record`."""
    instance, keys, feed = record.instance, record.keys, record.feed
    job = job_of(Job.LOAD, feed)
    versions = record.versions()
    event = instance.get_latest_materialization_event(keys.table)
    loaded = event.asset_materialization if event else None
    state = loaded.metadata.get(RECORD) if loaded else None
    finished = latest_ended(instance, job, _HISTORY)
    failures = []
    for run in finished:
        # A reconciliation may have loaded since.
        if run.dagster_run.is_success or (event and event.timestamp > ended_at(run)):
            break
        failures.append(ended_at(run))
    fetching = _fetching(instance, feed)
    started = instance.get_run_record_by_id(fetching) if fetching else None
    recorded = instance.get_latest_materialization_event(keys.wallets)
    # A refresh without news writes no materialization.
    ended = latest_ended(instance, job_of(Job.FETCH, feed), 1)
    refreshed = [run for run in ended if run.dagster_run.is_success]
    return policy.LoadSituation(
        loaded=(state.value == record_digest(versions)) if state else not versions,
        under_way=run_under_way(instance, job),
        fetching=fetching is not None,
        since=max(
            ended_at(finished[0]) if finished else 0.0, (started and started.start_time) or 0.0
        ),
        fetched=max(recorded.timestamp if recorded else 0.0, *map(ended_at, refreshed), 0.0),
        last_materialized=event.timestamp if event else 0.0,
        failures=failures,
        refreshes=any(
            each.name == feed.own(DAILY_REFRESH) and each.is_running
            for each in instance.all_instigator_state()
        ),
        job=job,
        rows=feed.rows,
    )


def deciding_runs(instance: dg.DagsterInstance) -> set[str]:
    """The ended runs by which the sensors decide: without them they would decide otherwise.

    The latest of each job, the fetches and loads back to the last one that worked, and work that
    the checks have not seen.
    """
    kept = {
        record.dagster_run.run_id
        for job in sorted(OUR_JOBS)
        for record in latest_ended(instance, job, 1)
    }
    for feed in FEEDS.values():
        kept |= _deciding_of(instance, feed)
    if checked := latest_ended(instance, Job.CHECK, 1):
        since = checked[0].start_time or ended_at(checked[0])
        if clock.now() - since < policy.CHECK_EVERY:
            kept |= {run.dagster_run.run_id for run in _work_since(instance, since)}
    return kept


def _deciding_of(instance: dg.DagsterInstance, feed: Feed) -> set[str]:
    """Of those, the fetches and loads of `feed`."""
    kept: set[str] = set()
    for record in _fetches_ended(instance, feed):
        run = record.dagster_run
        if run.job_name in _RECONCILE and down_at(run) is None and RECORDED_TAG not in run.tags:
            continue  # it may have fetched nothing: `fetch_situation` passes it over
        kept.add(run.run_id)
        if _has_worked(run):
            break
    for record in latest_ended(instance, job_of(Job.LOAD, feed), _HISTORY):
        kept.add(record.dagster_run.run_id)
        if record.dagster_run.is_success:
            break
    return kept


def _has_worked(run: dg.DagsterRun) -> bool:
    """Whether `fetch_situation` looks no further back than to this run."""
    if down_at(run) is not None:
        return False
    if run.job_name in _RECONCILE:
        return RECORDED_TAG in run.tags
    return run.is_success or FAILED_TAG in run.tags or RECORDED_TAG in run.tags


def latest_ended(instance: dg.DagsterInstance, job: str, limit: int) -> Sequence[dg.RunRecord]:
    """The latest runs of `job` that have ended, newest first."""
    return our_runs(instance, dg.RunsFilter(job_name=str(job), statuses=_ENDED), limit)


def _fetches_ended(instance: dg.DagsterInstance, feed: Feed) -> Sequence[dg.RunRecord]:
    """The latest runs that may have fetched `feed`, newest first."""
    runs = (
        *latest_ended(instance, job_of(Job.FETCH, feed), _HISTORY),
        *latest_ended(instance, job_of(Job.RECONCILE, feed), _HISTORY),
    )
    return sorted(runs, key=ended_at, reverse=True)


def work_ended(instance: dg.DagsterInstance, since: float) -> float | None:
    """When a run that fetched or loaded, however started, last ended after `since`, if any did."""
    ends = [run.end_time for run in _work_since(instance, since) if run.end_time]
    return max(ends, default=None)


def _work_since(instance: dg.DagsterInstance, since: float) -> list[dg.RunRecord]:
    wanted = dg.RunsFilter(
        statuses=[*_ENDED, dg.DagsterRunStatus.CANCELED],
        updated_after=datetime.fromtimestamp(since, UTC),
    )
    return [run for run in our_runs(instance, wanted) if _works(run.dagster_run)]


def _works(run: dg.DagsterRun) -> bool:
    if run.job_name in _RECONCILE:
        return _acts(run)
    return run.job_name in _FETCH_OR_LOAD or bool(_WORK & (run.asset_selection or set()))


def ended_at(run: dg.RunRecord) -> float:
    """When a run ended, epoch seconds."""
    return run.end_time or run.update_timestamp.timestamp()


def run_under_way(instance: dg.DagsterInstance, job: str) -> str | None:
    """A run of `job` that goes on, or is about to begin."""
    runs = our_runs(instance, dg.RunsFilter(job_name=str(job), statuses=UNDER_WAY))
    return runs[0].dagster_run.run_id if runs else None


def backfill_under_way(instance: dg.DagsterInstance) -> str | None:
    """A backfill of wallets of which a run goes on, or is about to begin."""
    for record in our_runs(instance, dg.RunsFilter(statuses=UNDER_WAY)):
        run = record.dagster_run
        if _BACKFILL_TAG in run.tags and _works(run):
            return run.tags[_BACKFILL_TAG]
    return None


def _acts(run: dg.DagsterRun) -> bool:
    """Whether a reconciliation acts, or asks the source."""
    ops: object = run.run_config.get("ops")
    return isinstance(ops, dict) and any(map(_is_to_act, ops.values()))


def _is_to_act(op: object) -> bool:
    config = op.get("config") if isinstance(op, dict) else None
    return isinstance(config, dict) and bool(config.get("apply") or config.get("source"))


def _fetching(instance: dg.DagsterInstance, *feeds: Feed) -> str | None:
    """A run that fetches one of `feeds`, or is about to; without any, of all."""
    some = feeds or tuple(FEEDS.values())
    jobs = {job_of(job, feed) for feed in some for job in (Job.FETCH, Job.RECONCILE)}
    assets = {asset_keys(feed).wallets for feed in some}
    for record in our_runs(instance, dg.RunsFilter(statuses=UNDER_WAY)):
        run = record.dagster_run
        chosen = run.asset_selection or ()
        if run.job_name in _RECONCILE and not _acts(run):
            continue
        if run.job_name in jobs or not assets.isdisjoint(chosen):
            return run.run_id
    return None
