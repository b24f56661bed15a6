"""Runs that live say so; those that fell silent are ended, so that they block nothing.

Dagster's default launcher cannot tell whether the worker of a run is still there. So every step
of ours notes which process it is, and writes a line into the run's log now and then. A run of
ours whose process is gone, or that has said nothing for `SILENT_SECONDS`, is ended as failed:
its wallets are free, and Dagster's run retries start it again.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from polycopy_assets import waits
from polycopy_assets.errors import DatabaseBusy
from polycopy_assets.ours import our_runs
from polycopy_assets.progress import Progress

_LOG = logging.getLogger(__name__)

WORKER_TAG = "polycopy/worker"
FOR_TAG = "polycopy/for"
"""The tag of a run that another one has started in its own process: which."""

BEAT_SECONDS = 10.0
LEASE_SECONDS = 30.0
"""Who has not seen for so long that its run goes on does nothing that takes a turn."""

SILENT_SECONDS = 300.0
STALLED_SECONDS = 900.0
_NOT_BEGUN = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
_UNFINISHED = [*_NOT_BEGUN, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def worker(run_id: str) -> str:
    """What names this process in the tags of its run: run, host and process id.

    A run that is retried inherits the tags of the one that died; the run id tells them apart.
    """
    return f"{run_id[:8]}@{socket.gethostname()}:{os.getpid()}"


def gone(worker: str) -> bool:
    """Whether that process was one of this machine, and is no more."""
    host, _, pid = worker.partition("@")[2].rpartition(":")
    return host == socket.gethostname() and not _exists(int(pid))


@contextmanager
def alive(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    progress: Progress | None = None,
) -> Iterator[Callable[[], bool]]:
    """Says while the context lasts that the run lives, and how far it is.

    Yields what tells whether the run was seen to go on within the last `LEASE_SECONDS`. A process
    that was frozen meanwhile, or cannot reach the database, does not know: its turn may be another
    one's. Interrupts this process, as by SIGTERM, when a fetch does not move for
    `STALLED_SECONDS`, or when somebody else has ended or deleted the run.
    """
    run_id = context.run.run_id
    context.instance.add_run_tags(run_id, {WORKER_TAG: worker(run_id)})
    ended = threading.Event()
    # A daemon thread: an interrupt may leave this context open, and must not keep the process.
    beat = _Beat(context, progress)
    thread = threading.Thread(target=beat.go_on, args=(ended,), name="alive", daemon=True)
    thread.start()
    try:
        yield beat.confirmed
    finally:
        ended.set()
        thread.join()


class _Beat:
    """The lines that a step writes into its run's log every `BEAT_SECONDS`.

    It keeps no hold of the step's context, through which an interrupted step would live on.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
        progress: Progress | None,
    ) -> None:
        self._instance = context.instance
        started_by = context.run.tags.get(FOR_TAG)
        self._run_ids = [context.run.run_id, *([started_by] if started_by else [])]
        self._log = context.log
        self._progress = progress
        self._seen: object = None
        self._started = self._moved = self._confirmed = time.monotonic()

    def confirmed(self) -> bool:
        """Whether the run was seen to go on within the last `LEASE_SECONDS`."""
        return time.monotonic() - self._confirmed < LEASE_SECONDS

    def go_on(self, ended: threading.Event) -> None:
        """Writes them until `ended` is set; interrupts the process when it is to give up.

        Again, if that had no effect: an interrupt that comes while Python cleans up an object is
        lost, and a process that may send nothing any more would wait for ever.
        """
        interrupted = float("-inf")
        while not ended.wait(BEAT_SECONDS):
            why = self._look()
            again = time.monotonic() - interrupted >= LEASE_SECONDS
            if why and again and threading.main_thread().is_alive():
                _LOG.error("%s: this process gives it up", why)
                interrupted = time.monotonic()
                os.kill(os.getpid(), signal.SIGTERM)

    def _look(self) -> str | None:
        """Looks whether the run goes on, and writes one line; why to give it up, if it is so."""
        stalled = self._stalled()
        try:
            if ended := self._ended():
                return ended
            self._log.info(self._line())
            if stalled:
                self._log.error(f"{stalled}: the run is given up")
        except DatabaseBusy as error:
            _LOG.warning("the run's log cannot be written: %s", error)
        except Exception:  # noqa: BLE001 - logged; whatever kept it from saying so may pass
            _LOG.warning("the run's log cannot be written", exc_info=True)
        return stalled

    def _line(self) -> str:
        if waiting := waits.line():
            return waiting
        if self._progress is None:
            return f"at work for {time.monotonic() - self._started:.0f} s"
        return self._progress.line()

    def _stalled(self) -> str | None:
        now, progress = time.monotonic(), self._progress
        if progress is None:
            return None
        progress.sample()
        if progress.step or progress.state != self._seen:
            self._seen, self._moved = progress.state, now
        elif now - self._moved > STALLED_SECONDS:
            return f"nothing has moved for {now - self._moved:.0f} s"
        return None

    def _ended(self) -> str | None:
        looked = time.monotonic()
        for run_id in self._run_ids:
            run = self._instance.get_run_by_id(run_id)
            if run is None:
                return f"run {run_id} was deleted"
            if run.is_finished:
                return f"run {run_id} was ended by somebody else ({run.status.value})"
        self._confirmed = looked
        return None


def end_dead_runs(
    instance: dg.DagsterInstance, now: Callable[[], float] = time.time
) -> dict[str, str]:
    """Ends those of our runs that are dead; run id and why, of each.

    They count as failed; as cancelled, where a person had told them to stop. Nothing that they
    recorded is lost: a wallet is recorded when it is durable, and the next fetch goes on behind
    the last segment.
    """
    ended = {}
    for record in our_runs(instance, dg.RunsFilter(statuses=_UNFINISHED)):
        run_id = record.dagster_run.run_id
        if (why := _dead(instance, record, now())) and _end(instance, run_id, why):
            ended[run_id] = why
    return ended


def _end(instance: dg.DagsterInstance, run_id: str, why: str) -> bool:
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished:
        return False  # it came to its end, and its process to its own, since it was listed
    if run.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, why)
    else:
        instance.report_run_failed(run, why)
    return True


def _dead(instance: dg.DagsterInstance, record: dg.RunRecord, now: float) -> str | None:
    run = record.dagster_run
    tag = run.tags.get(WORKER_TAG, "")
    known = tag.partition("@")[0] == run.run_id[:8]
    if run.status in _NOT_BEGUN and not known:
        return None  # not a command's: it waits in the queue, or Dagster is starting it
    if known and gone(tag):
        return f"the process {tag.rpartition(':')[2]} that ran it is gone"
    silent = now - _last_sign(instance, record)
    if silent > SILENT_SECONDS:
        return f"it has said nothing for {silent:.0f} s"
    return None


def _last_sign(instance: dg.DagsterInstance, record: dg.RunRecord) -> float:
    run_id = record.dagster_run.run_id
    latest = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    created = record.create_timestamp.timestamp()
    return latest[0].event_log_entry.timestamp if latest else created


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
