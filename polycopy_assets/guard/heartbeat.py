"""The heartbeat of a run: holds the run's lock, logs its progress, and tells it when to stop.

The lock shows whether the run is alive (`dead_runs.py`). The line in the run's log every
`BEAT_SECONDS` is only for people. If the run was ended or deleted from outside, or no longer makes
progress, it is told to stop: it checks before each request.
"""

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from polycopy_assets.errors import DatabaseBusy, RunEnded
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import Lock, Locks, this_process
from polycopy_assets.guard.ours import HIDDEN, started_by
from polycopy_assets.record.place import use, why_database_failed
from polycopy_assets.system import waits
from polycopy_assets.system.interrupt import one_press

_LOG = logging.getLogger(__name__)

LOCK_TAG = f"{HIDDEN}lock"
"""The tag of a run that has taken its lock: the lock's name."""

_LOCK_TAG_BEFORE = "polycopy/lock"
"""The tag's name in earlier versions, which Dagster's pages showed beside every run."""

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext

BEAT_SECONDS = 10.0
STALLED_SECONDS = 900.0

_LOOKED_AT_SECONDS = 0.01
"""A process that checks whether a lock is free holds the lock for a moment."""

_AGAIN = "start it again, it continues"
_UNWRITTEN = "the run's log cannot be written"

_HELD: dict[str, Lock] = {}


def run_lock(run_id: str) -> str:
    """The name of a run's own lock."""
    return f"run-{run_id}"


def run_lock_tags(run_id: str) -> dict[str, str]:
    """The tags of a run that has taken its lock."""
    return {LOCK_TAG: run_lock(run_id)}


def has_taken_its_lock(run: dg.DagsterRun) -> bool:
    """Whether the run has taken its lock.

    A retry inherits the tags of the run that it retries: only its own lock counts.
    """
    return run_lock(run.run_id) in {run.tags.get(LOCK_TAG), run.tags.get(_LOCK_TAG_BEFORE)}


def take_run_lock(instance: dg.DagsterInstance, run_id: str, job_name: str) -> Lock:
    """Takes the lock of a run, once, and holds it until `free_run_lock` or the process's end.

    A step ends before its run does, so it must not free the lock. If the run does not exist yet, it
    must be created with `run_lock_tags`. Raises RunEnded if the run was considered dead, and was
    ended, before it began.
    """
    name = run_lock(run_id)
    if name in _HELD:
        return _HELD[name]
    use(instance)  # a run that Dagster launched has not passed through `opened`
    lock = _HELD[name] = _acquired(instance_locks(instance), run_id, job_name)
    # If the process ends in order, it removes the lock file.
    atexit.register(free_run_lock, run_id)
    run = instance.get_run_by_id(run_id)
    if run is not None and run.is_finished:
        free_run_lock(run_id)
        raise RunEnded(f"run {run_id} was ended before it began ({run.status.value})")
    if run is not None:
        instance.add_run_tags(run_id, {**run_lock_tags(run_id), **started_by(run)})
    return lock


def _acquired(locks: Locks, run_id: str, job_name: str) -> Lock:
    name, holder = run_lock(run_id), this_process(job_name, run_id)
    while (lock := locks.try_acquire(name, holder)) is None:
        if (other := locks.holder(name)) is not None:
            raise RunEnded(f"run {run_id} is already working in another process: {other}")
        time.sleep(_LOOKED_AT_SECONDS)
    return lock


def free_run_lock(run_id: str) -> None:
    """Frees the lock of a run that has ended; no error if this process does not hold it."""
    lock = _HELD.pop(run_lock(run_id), None)
    if lock is not None:
        lock.release()


class Pulse:
    """Whether a run may go on: as long as it holds its own `lock`, and nothing has stopped it."""

    def __init__(self, lock: Lock, interrupted: Callable[[], bool]) -> None:
        self.stopped = ""
        self._lock = lock
        self._interrupted = interrupted

    def check(self) -> None:
        """Raises Stopped if the run must not go on."""
        if self.stopped:
            raise RunEnded(self.stopped)
        if self._interrupted():  # and something swallowed the exception
            raise RunEnded("the process was told to stop")
        self._lock.check()


@contextmanager
def heartbeat(
    context: Context,
    progress: Progress | None = None,
) -> Iterator[Pulse]:
    """Holds the run's lock, and logs the run's progress while the context lasts."""
    lock = take_run_lock(context.instance, context.run.run_id, context.run.job_name)
    with one_press() as interrupted:
        pulse, ended = Pulse(lock, interrupted), threading.Event()
        # A daemon thread: even if an interrupt leaves this context open, the process can end.
        beat = _Beat(context, progress, pulse)
        thread = threading.Thread(target=beat.go_on, args=(ended,), name="heartbeat", daemon=True)
        thread.start()
        try:
            yield pulse
        finally:
            ended.set()
            thread.join()


class _Beat:
    """The lines that a run writes into its log.

    It keeps no reference to the step's context, which would keep an interrupted step alive.
    """

    def __init__(
        self,
        context: Context,
        progress: Progress | None,
        pulse: Pulse,
    ) -> None:
        self._instance = context.instance
        self._run_id = context.run.run_id
        self._log = context.log
        self._progress = progress
        self._pulse = pulse
        self._seen: object = None
        self._started = self._moved = time.monotonic()

    def go_on(self, ended: threading.Event) -> None:
        while not ended.wait(BEAT_SECONDS):
            try:
                self._pulse.stopped = self._pulse.stopped or self._stalled() or self._ended()
                self._say(self._log.error if self._pulse.stopped else self._log.info)
            except DatabaseBusy as error:
                _LOG.warning("%s: %s", _UNWRITTEN, error)
            except Exception as error:  # noqa: BLE001 - logged; the cause may pass
                why = why_database_failed(error)
                _LOG.warning("%s%s", _UNWRITTEN, why and f": {why}", exc_info=not why)

    def _say(self, log: Callable[[str], object]) -> None:
        if self._pulse.stopped:
            log(self._pulse.stopped)
        elif waiting := waits.line():
            log(waiting)
        elif self._progress is None:
            log(f"working for {time.monotonic() - self._started:.0f} s")
        else:
            log(self._progress.line())

    def _stalled(self) -> str:
        now, progress = time.monotonic(), self._progress
        if progress is None:
            return ""
        progress.sample()
        if not progress.fetching or progress.step.name or progress.state != self._seen:
            self._seen, self._moved = progress.state, now
        elif now - self._moved > STALLED_SECONDS:
            return f"no progress for {now - self._moved:.0f} s; {_AGAIN}"
        return ""

    def _ended(self) -> str:
        run = self._instance.get_run_by_id(self._run_id)
        if run is None:
            return f"run {self._run_id} was deleted; {_AGAIN}"
        if run.is_finished:
            return f"run {self._run_id} was ended from outside ({run.status.value}); {_AGAIN}"
        return ""
