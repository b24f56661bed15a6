"""A step at work: its heartbeat, the lock that it needs, and when it has to stop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import exclusive
from polycopy_assets.guard.heartbeat import heartbeat
from polycopy_assets.record.step_context import StepContext


class Permit(NamedTuple):
    """`check` raises Stopped if the step must not go on; `idle`: seconds the lock was free."""

    check: Callable[[], None]
    idle: float


@contextmanager
def working(
    context: StepContext,
    lock: str,
    progress: Progress,
    deadline: Deadline | None = None,
) -> Iterator[Permit]:
    """Holds the run's lock and `lock`; while it waits, `progress` and the log name the holder.

    Raises OutOfTime if the deadline comes before the lock is free.
    """

    def say(text: str) -> None:
        progress.begin(text)
        if text:
            context.log.info(text)

    with heartbeat(context, progress) as pulse:

        def may_wait() -> None:
            pulse.check()
            if deadline is not None:
                deadline.check()

        with exclusive(context, lock, say, may_wait) as held:

            def check() -> None:
                pulse.check()
                held.lock.check()

            yield Permit(check, held.idle)
