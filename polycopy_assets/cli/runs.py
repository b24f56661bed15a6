"""Runs jobs in this process: what a command does is a run like any other."""

import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import dagster as dg

from polycopy_assets.assembly import build
from polycopy_assets.assets.plainly import STOPPED_TAG
from polycopy_assets.assets.step_record import COMMAND_TAG
from polycopy_assets.cli.talk import is_verbose
from polycopy_assets.errors import PolycopyError, RunEnded
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.heartbeat import free_run_lock, run_lock_tags, take_run_lock
from polycopy_assets.guard.ours import STARTED_BY_TAG, Job, job_of
from polycopy_assets.record.private.interrupts import interrupts_kept
from polycopy_assets.settings import Settings
from polycopy_assets.system.interrupt import interrupt


def _logged() -> dict[str, object]:
    """What of a run's log goes to standard error."""
    level = "INFO" if is_verbose() else "CRITICAL"
    return {"loggers": {"console": {"config": {"log_level": level}}}}


def run_job(
    instance: dg.DagsterInstance,
    settings: Settings,
    job: Job,
    config: Mapping[str, object],
    progress: Progress,
    *,
    deadline: Deadline | None = None,
    feed: Feed = TRADES,
) -> dg.ExecuteInProcessResult:
    """Runs `job`, whose first asset gets `config`, to its end; it does not go through the queue.

    Of the jobs that each feed has, it is that of `feed`.

    With a `deadline`, a fetch ends by it, and SIGTERM is told to it in place of stopping the run; a
    load does not wait for another one beyond it.

    Raises only KeyboardInterrupt, if the process was told to stop meanwhile, and RunEnded, if the
    run was deleted.
    """
    name = job_of(job, feed)
    definition = build(settings, progress, deadline).resolve_job_def(name)
    ops = {_op(job, feed): {"config": dict(config)}} if config else {}
    run_id = str(uuid.uuid4())
    with _heard(deadline if job is Job.FETCH else None) as told_to_stop:
        # Taken before the run exists: a kill at any moment then leaves no run that looks alive.
        take_run_lock(instance, run_id, name)
        try:
            with interrupts_kept():
                result = definition.execute_in_process(
                    instance=instance,
                    run_config={**_logged(), "ops": ops},
                    run_id=run_id,
                    tags={
                        **run_lock_tags(run_id),
                        COMMAND_TAG: name,
                        STARTED_BY_TAG: "the command polycopy",
                    },
                    raise_on_error=False,
                )
        finally:
            free_run_lock(run_id)
            if told_to_stop():
                interrupt()
    if instance.get_run_by_id(run_id) is None:
        raise RunEnded(
            f"run {run_id} was deleted while it was working: start it again, it continues"
        )
    return result


def _op(job: Job, feed: Feed) -> str:
    """The step of `job` that is configured."""
    of_feed = {
        Job.FETCH: feed.assets.wallets,
        Job.LOAD: feed.assets.combined,
        Job.RECONCILE: feed.own("reconciliation"),
    }
    return of_feed.get(job) or _OPS[job]


_OPS = {
    Job.WITNESS: "source_counts",
    Job.LEADERBOARD: "leaderboard",
    Job.MARKETS: "dimensions",
}


def why_failed(result: dg.ExecuteInProcessResult) -> str:
    """Why a run failed: what its steps said, or else the exception that ended them."""
    reasons = []
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        data = event.step_failure_data
        if data.user_failure_data and data.user_failure_data.description:
            reasons.append(data.user_failure_data.description)
        elif data.error:
            error = data.error
            while error.cause:  # Dagster's own error around it says which step failed
                error = error.cause
            reasons.append(error.message.strip())
    return "; ".join(reasons) or f"run {result.run_id} failed"


def failed_by(result: dg.ExecuteInProcessResult, error: type[PolycopyError]) -> bool:
    """Whether an error of this class, and of none below it, ended a step of the run."""
    for event in result.all_events:
        if event.is_step_failure:
            cause = event.step_failure_data.error
            while cause:
                if cause.cls_name == error.__name__:
                    return True
                cause = cause.cause
    return False


def raise_failure(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> None:
    """Raises RunEnded if the run stopped itself, PolycopyError if it failed."""
    raise_if_stopped(instance, result)
    if not result.success:
        raise PolycopyError(why_failed(result))


def raise_if_stopped(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> None:
    """Raises RunEnded if the run stopped itself: it was ended, lost its lock, or was stuck."""
    run = instance.get_run_by_id(result.run_id)
    if run is not None and (why := run.tags.get(STOPPED_TAG)):
        raise RunEnded(why)


@contextmanager
def _heard(deadline: Deadline | None) -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGINT or SIGTERM has come: SIGINT alone with a `deadline`.

    Dagster treats an interrupted step as a failed one, ignores an interrupt after the last step,
    and has handlers of its own meanwhile. So the deadline, too, is told by what arrived.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread gets signals
        return
    heard, noted = socket.socketpair()
    arrived: set[int] = set()
    with heard, noted:
        heard.settimeout(0)
        noted.settimeout(0)
        before = signal.set_wakeup_fd(noted.fileno(), warn_on_full_buffer=False)

        def has_come(number: signal.Signals) -> bool:
            with suppress(BlockingIOError):
                arrived.update(heard.recv(4096))
            return number in arrived

        def told() -> bool:
            return has_come(signal.SIGINT) or (deadline is None and has_come(signal.SIGTERM))

        if deadline is not None:
            deadline.listen(lambda: has_come(signal.SIGTERM))
        try:
            yield told
        finally:
            signal.set_wakeup_fd(before)
            if deadline is not None and not deadline.told:
                deadline.listen(lambda: False)
