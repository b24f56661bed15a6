"""Which runs are ours: one Dagster instance may serve other code locations as well.

Their jobs, assets and pools may have the same names as ours. We do not end their runs, and do not
count them as fetches or loads.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import PurePath
from typing import Protocol

import dagster as dg
from dagster import DagsterInvariantViolationError, RunRecord, RunsFilter

from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.record.asset_keys import asset_keys


class Job(StrEnum):
    """The jobs, by the names that runs carry; those of a feed by the names of the first feed's."""

    FETCH = "fetch"
    LOAD = "load"
    CHECK = "check"
    RECONCILE = "reconcile"
    AUDIT = "audit"
    WITNESS = "witness"
    LEADERBOARD = "leaderboard_snapshot"
    MARKETS = "update_markets"
    MAINTAIN = "maintain"


PACKAGE = "polycopy_assets"
_NAMESPACE = "polycopy/"
"""The prefix of every tag that our steps, sensors and commands give to a run."""

HIDDEN = ".dagster/polycopy_"
"""The prefix of tags that only our code reads: Dagster's pages show no tag that begins so."""

OUR_TAG = f"{HIDDEN}code"
OUR_TAGS = {OUR_TAG: PACKAGE}
"""The tags of all our jobs; a run without a job has none, and is recognised by its origin."""

_OUR_TAG_BEFORE = f"{_NAMESPACE}code"
"""The tag's name in earlier versions, which Dagster's pages showed beside every run."""

STARTED_BY_TAG = "polycopy/started_by"
"""The tag that says who started a run: a sensor, a schedule, a command, or a person."""

OF_A_FEED = (Job.FETCH, Job.LOAD, Job.RECONCILE)
"""The jobs that each feed has for itself."""


def job_of(job: Job, feed: Feed) -> str:
    """The name of that job of `feed`, or of the job itself if it is one for all feeds."""
    return feed.own(job.value) if job in OF_A_FEED else job.value


def fetch_sensor(feed: Feed) -> str:
    """The name of the sensor that fetches what `feed` lacks."""
    return "new_wallets" if feed.bare else f"wallets_without_{feed.name}"


def load_sensor(feed: Feed) -> str:
    """The name of the sensor that loads what the table of `feed` lacks."""
    return f"new_{feed.table}"


OUR_JOBS = frozenset(job_of(job, feed) for feed in FEEDS.values() for job in Job)
OUR_STEPS = frozenset(
    {
        *(key.to_user_string() for feed in FEEDS.values() for key in asset_keys(feed)),
        *(feed.own("reconciliation") for feed in FEEDS.values()),
        "leaderboard",
        "dimensions",
    }
)
OUR_ASSETS = frozenset(
    dg.AssetKey(name) for name in (*OUR_STEPS - {"dimensions"}, "tokens", "markets", "traders")
)


class _CodeLocation(Protocol):
    @property
    def location_name(self) -> str: ...

    @property
    def loadable_target_origin(self) -> object: ...


class _Repository(Protocol):
    @property
    def code_location_origin(self) -> _CodeLocation: ...


class RemoteOrigin(Protocol):
    """Where Dagster loaded a job, a sensor or a schedule from."""

    @property
    def repository_origin(self) -> _Repository:
        """The repository, with the code location that it is in."""
        ...


_BEFORE_TAGS = 100
"""How many of the latest runs are searched for our runs of versions that set no tag."""


def is_ours(run: dg.DagsterRun) -> bool:
    """Whether it is a run of this package, by its tag or by the origin of its code.

    Commands of older versions set no such tag, and their runs have no origin. These are recognised
    by another tag of ours, if they are for our jobs or assets alone.
    """
    if PACKAGE in {run.tags.get(OUR_TAG), run.tags.get(_OUR_TAG_BEFORE)} or _code_is_ours(run):
        return True
    return any(tag.startswith((_NAMESPACE, HIDDEN)) for tag in run.tags) and _names_are_ours(run)


def started_by(run: dg.DagsterRun) -> dict[str, str]:
    """The tag that says who started a run; empty if it has one. A retry keeps that of the first."""
    if STARTED_BY_TAG in run.tags:
        return {}
    for tag, who in _STARTERS.items():
        if tag in run.tags:
            return {STARTED_BY_TAG: who.format(run.tags[tag])}
    return {STARTED_BY_TAG: "a person"}


_STARTERS = {
    "dagster/backfill": "backfill {}",
    "dagster/sensor_name": "{}",
    "dagster/schedule_name": "{}",
}


def our_runs(
    instance: dg.DagsterInstance, wanted: RunsFilter, limit: int | None = None
) -> Sequence[RunRecord]:
    """Our runs among those `wanted`, newest first, at most `limit` of them.

    With a limit, only the latest runs are searched for runs without our tag.
    """
    if limit is None:
        return [run for run in instance.get_run_records(wanted) if is_ours(run.dagster_run)]
    found = {}
    for tag in (OUR_TAG, _OUR_TAG_BEFORE):
        tagged = RunsFilter(
            job_name=wanted.job_name,
            statuses=wanted.statuses,
            tags={**wanted.tags, tag: PACKAGE},
            updated_after=wanted.updated_after,
        )
        found |= {run.storage_id: run for run in instance.get_run_records(tagged, limit=limit)}
    for run in instance.get_run_records(wanted, limit=_BEFORE_TAGS):
        if is_ours(run.dagster_run):
            found[run.storage_id] = run
    return [found[number] for number in sorted(found, reverse=True)[:limit]]


def _names_are_ours(run: dg.DagsterRun) -> bool:
    chosen = run.asset_selection
    return run.job_name in OUR_JOBS or (bool(chosen) and chosen <= OUR_ASSETS)


def _code_is_ours(run: dg.DagsterRun) -> bool:
    """Whether the run's definitions were loaded from this package."""
    if run.job_code_origin is not None:
        return _from_package(run.job_code_origin.repository_origin.code_pointer)
    return run.remote_job_origin is not None and from_our_code(run.remote_job_origin)


def from_our_code(origin: RemoteOrigin) -> bool:
    """Whether a job, a sensor or a schedule of that origin was loaded from this package."""
    location = origin.repository_origin.code_location_origin
    try:
        return _from_package(location.loadable_target_origin)
    except DagsterInvariantViolationError:
        # A code server that `dagster dev` or someone else has started: only its name tells.
        return location.location_name.partition(".")[0] == PACKAGE


def _from_package(pointer: object) -> bool:
    for name in ("module", "module_name", "package_name", "autoload_defs_module_name"):
        module = getattr(pointer, name, None)
        if isinstance(module, str) and module.partition(".")[0] == PACKAGE:
            return True
    file = getattr(pointer, "python_file", None)
    return isinstance(file, str) and PurePath(file).parts[-2:] == (PACKAGE, "definitions.py")
