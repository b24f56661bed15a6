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

from polycopy_assets.progress import Progress

_LOG = logging.getLogger(__name__)

WORKER_TAG = "polycopy/worker"
BEAT_SECONDS = 10.0
SILENT_SECONDS = 300.0
STALLED_SECONDS = 900.0
OUR_ASSETS = frozenset(
    dg.AssetKey(name)
    for name in ("wallet_trades", "combined_trades", "trades", "reconciliation", "traders")
)
_UNFINISHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def worker(run_id: str) -> str:
    """What names this process in the tags of its run: run, host and process id.

    A run that is retried inherits the tags of the one that died; the run id tells them apart.
    """
    return f"{run_id[:8]}@{socket.gethostname()}:{os.getpid()}"


@contextmanager
def alive(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
    progress: Progress | None = None,
) -> Iterator[None]:
    """Says while the context lasts that the run lives, and how far it is.

    Interrupts this process, as by SIGTERM, when a fetch does not move for `STALLED_SECONDS`, or
    when somebody else has ended the run: its turn is another one's then.
    """
    run_id = context.run.run_id
    context.instance.add_run_tags(run_id, {WORKER_TAG: worker(run_id)})
    ended = threading.Event()
    # A daemon thread: an interrupt may leave this context open, and must not keep the process.
    beat = _Beat(context, progress)
    thread = threading.Thread(target=beat.go_on, args=(ended,), name="alive", daemon=True)
    thread.start()
    try:
        yield
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
        self._run_id = context.run.run_id
        self._log = context.log
        self._progress = progress
        self._seen: object = None
        self._started = self._moved = time.monotonic()

    def go_on(self, ended: threading.Event) -> None:
        """Writes them until `ended` is set, or the process is interrupted."""
        while not ended.wait(BEAT_SECONDS):
            try:
                why = self._say() or self._ended()
            except Exception:  # noqa: BLE001 - logged; whatever kept it from saying so may pass
                _LOG.warning("the run's log cannot be written", exc_info=True)
                continue
            if why and threading.main_thread().is_alive():
                _LOG.error("%s: this process gives it up", why)
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _say(self) -> str | None:
        """One line; why to give the run up, if it does not move."""
        now, progress = time.monotonic(), self._progress
        if progress is None:
            self._log.info(f"at work for {now - self._started:.0f} s")
            return None
        progress.sample()
        self._log.info(progress.line())
        if progress.step or progress.state != self._seen:
            self._seen, self._moved = progress.state, now
        elif now - self._moved > STALLED_SECONDS:
            why = f"nothing has moved for {now - self._moved:.0f} s"
            self._log.error(f"{why}: the run is given up")
            return why
        return None

    def _ended(self) -> str | None:
        run = self._instance.get_run_by_id(self._run_id)
        if run is None or not run.is_finished:
            return None
        return f"run {run.run_id} was ended by somebody else ({run.status.value})"


def end_dead_runs(
    instance: dg.DagsterInstance, now: Callable[[], float] = time.time
) -> dict[str, str]:
    """Marks as failed those of our runs that are dead; run id and why, of each.

    Nothing that they recorded is lost: a wallet is recorded when it is durable, and the next
    fetch goes on behind the last segment.
    """
    ended = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        if why := _dead(instance, run, now()):
            instance.report_run_failed(run, why)
            ended[run.run_id] = why
    return ended


def _dead(instance: dg.DagsterInstance, run: dg.DagsterRun, now: float) -> str | None:
    if not _ours(run):
        return None
    tag, _, place = run.tags.get(WORKER_TAG, "").partition("@")
    host, _, pid = place.rpartition(":")
    known = tag == run.run_id[:8]
    if known and host == socket.gethostname() and not _exists(int(pid)):
        return f"the process {pid} that ran it is gone"
    silent = now - _last_sign(instance, run, now)
    if silent > SILENT_SECONDS:
        return f"it has said nothing for {silent:.0f} s"
    return None


def _ours(run: dg.DagsterRun) -> bool:
    return (bool(run.asset_selection) and run.asset_selection <= OUR_ASSETS) or (
        run.job_name in {"fetch", "load", "reconcile", "check"}
    )


def _last_sign(instance: dg.DagsterInstance, run: dg.DagsterRun, now: float) -> float:
    latest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    return latest[0].event_log_entry.timestamp if latest else now


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
