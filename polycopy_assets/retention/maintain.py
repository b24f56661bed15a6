"""Deletes what Dagster keeps of old runs: the runs, their events, files, and old ticks.

A run none of whose events counts any more is deleted as a whole. A run that wrote a record which
is still the latest of its wallet stays, with these events alone: nothing is ever written again, so
ids, times and order of what stays do not change, and no reader notices.

A kill at any moment leaves a run with fewer events that do not count; the next time continues.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import msgspec

from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import held, this_process
from polycopy_assets.guard.ours import OUR_ASSETS, Job
from polycopy_assets.record.private.database import postgres_url
from polycopy_assets.record.private.stored_events import NO_RUN, PAGE, StoredEvents
from polycopy_assets.retention.failures import Failures
from polycopy_assets.retention.files import RunFiles, size_of_home
from polycopy_assets.retention.old_runs import SETTLE_SECONDS, old_runs
from polycopy_assets.retention.shrink import shrink
from polycopy_assets.retention.superseded import superseded
from polycopy_assets.retention.ticks import delete_old_ticks
from polycopy_assets.system import clock

KEEP_DAYS, MOST_DAYS = 30, 36_500
"""Days after their end for which runs are kept, unless asked otherwise; and at most."""

LOCK = Job.MAINTAIN.value
_DAY = 86_400.0
_OURS = frozenset(key.to_string() for key in OUR_ASSETS)


class Freed(msgspec.Struct, frozen=True, kw_only=True):
    """What was deleted, or would be: runs as a whole, single events, results of checks, ticks.

    `thinned_runs` lost events, and stay because some of their events still count. `file_bytes` are
    those of the deleted `files`; `bytes_before` and `bytes_after` those of all files of Dagster.
    `failures` counts what could not be deleted or shrunk, and `first_failure` names the first, with
    the reason; the next maintenance tries again.
    """

    dry_run: bool
    keep_days: int
    runs: int
    thinned_runs: int
    events: int
    check_results: int
    ticks: int
    files: int
    file_bytes: int
    bytes_before: int
    bytes_after: int
    failures: int = 0
    first_failure: str = ""

    @property
    def left(self) -> str:
        """One sentence about the failures; empty if there are none."""
        if not self.failures:
            return ""
        return (
            f"{self.failures:,} could not be deleted or shrunk and stay until the next maintenance;"
            f" the first: {self.first_failure}"
        )


def maintain(
    instance: dg.DagsterInstance,
    *,
    keep_days: int = KEEP_DAYS,
    kept: Callable[[], Collection[str]] = tuple,
    dry_run: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Freed:
    """Deletes what is older than `keep_days` and no longer counts; with `dry_run` only counts it.

    The runs that `kept` returns are left alone. `check` is called before each step, and raises to
    stop. Waits for another maintenance of the instance to end. Raises ConfigurationError if the
    instance is neither kept in files nor in Postgres.
    """
    with _alone(instance, check, dry_run=dry_run):
        before = size_of_home(instance)
        work = _Maintenance(instance, check, dry_run=dry_run)
        cutoff = clock.now() - max(keep_days * _DAY, SETTLE_SECONDS)
        for run_id in old_runs(instance, cutoff, kept()):
            work.clear(run_id)
        work.clear_without_run(cutoff)
        ticks = delete_old_ticks(instance, cutoff, check, dry_run=dry_run)
        work.files.delete_leftovers(cutoff, check)
        if not dry_run and postgres_url(instance) is None:
            shrink(Path(instance.root_directory), check, work.failures)
        return Freed(
            dry_run=dry_run,
            keep_days=keep_days,
            runs=work.runs,
            thinned_runs=work.thinned,
            events=work.events,
            check_results=work.results,
            ticks=ticks,
            files=work.files.files,
            file_bytes=work.files.bytes,
            bytes_before=before,
            bytes_after=before if dry_run else size_of_home(instance),
            failures=len(work.failures),
            first_failure=work.failures.first,
        )


@contextmanager
def _alone(
    instance: dg.DagsterInstance, check: Callable[[], None], *, dry_run: bool
) -> Iterator[None]:
    """One maintenance at a time: a second one would find files gone while it opens them."""
    if dry_run:
        yield
        return
    with held(
        instance_locks(instance), LOCK, this_process("maintain"), waiting=lambda holder: check()
    ):
        yield


class _Maintenance:
    """Clears runs, one after the other, and counts what goes."""

    def __init__(
        self, instance: dg.DagsterInstance, check: Callable[[], None], *, dry_run: bool
    ) -> None:
        self.runs = self.thinned = self.events = self.results = 0
        self._instance = instance
        self._check = check
        self._dry_run = dry_run
        self._stored = StoredEvents(instance)
        # A result that is not among them never will be again.
        self._latest_checks = self._stored.latest_checks()
        self.failures = Failures()
        self.files = RunFiles(instance, self._stored, self.failures, dry_run=dry_run)

    def clear(self, run_id: str) -> None:
        """Deletes a run, or only those of its events that no longer count."""
        self._check()
        checks = self._stored.checks_of_run(run_id)
        old = [each for each in checks if each.id not in self._latest_checks]
        current = [check for check in checks if check not in old]
        counts, gone = bool(current), 0
        for page in self._stored.of_run(run_id):
            self._check()
            ids = superseded(self._instance, self._stored, page, current)
            counts |= len(ids) < len(page)
            gone += len(ids)
            if not self._dry_run:
                self._stored.delete(ids)
        if not self._dry_run:
            self._stored.delete_checks([each.id for each in old])
        before = self.files.files
        if counts:
            self._delete_files(run_id)
        else:
            self._delete_run(run_id)
        self.events += gone
        self.results += len(old)
        self.runs += not counts
        self.thinned += counts and (gone + len(old) + self.files.files - before > 0)

    def clear_without_run(self, before: float) -> None:
        """Deletes events of our assets that belong to no run, or to one that is gone.

        Only those that no longer count, and are older than `before`, epoch seconds.
        """
        moment = datetime.fromtimestamp(before, UTC).replace(tzinfo=None)
        for run_id in (NO_RUN, *self._gone_runs()):
            for page in self._stored.of_run(run_id):
                self._check()
                ours = [each for each in page if each.asset in _OURS and each.at < moment]
                ids = superseded(self._instance, self._stored, ours)
                self.events += len(ids)
                if not self._dry_run:
                    self._stored.delete(ids)

    def _gone_runs(self) -> Iterator[str]:
        page: list[str] = []
        for run_id in (*self._stored.run_ids(), ""):
            if run_id:
                page.append(run_id)
            if page and (len(page) == PAGE or not run_id):
                known = set(self._instance.get_run_ids(dg.RunsFilter(run_ids=page)))
                yield from (each for each in page if each not in known)
                page = []

    def _delete_run(self, run_id: str) -> None:
        """Deletes the run itself, whose events are gone from the index."""
        # The log first: otherwise Dagster deletes its rows, in one statement that names each. Then
        # it makes an empty file in its place.
        self._delete_files(run_id)
        if not self._dry_run:
            self._instance.delete_run(run_id)
            self.files.forget_log(run_id)

    def _delete_files(self, run_id: str) -> None:
        self.files.delete_log(run_id)
        self.files.delete_output(run_id)
