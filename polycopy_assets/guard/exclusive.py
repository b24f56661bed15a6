"""Locks for work that must not run twice at once in a deployment, however it is started.

Dagster's queue runs one run of a pool at a time, but a run that a command starts in its own process
does not go through the queue. So the work itself takes a lock.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import dagster as dg

from polycopy_assets.errors import PolycopyError
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import Holder, Lock, held, this_process
from polycopy_assets.record.step_context import StepContext

SOURCE = "source"
"""Asking the source: one fetch at a time keeps the request budget."""

WAREHOUSE = "warehouse"
"""Combining and loading: one at a time."""

_SAY_SECONDS = 60.0


class Exclusive(NamedTuple):
    """The lock that is held, and how many seconds it had been free before.

    If its last holder died, the time it stopped working is unknown: that counts as 0 s.
    """

    lock: Lock
    idle: float


@contextmanager
def exclusive(
    context: StepContext,
    name: str,
    say: Callable[[str], None],
    check: Callable[[], None],
) -> Iterator[Exclusive]:
    """Waits for the lock `name` in a run, and holds it; see `alone`."""
    holder = this_process(context.run.job_name, context.run.run_id)
    with alone(context.instance, holder, name, say, check) as found:
        yield found


@contextmanager
def alone(
    instance: dg.DagsterInstance,
    holder: Holder,
    name: str,
    say: Callable[[str], None],
    check: Callable[[], None] = lambda: None,
) -> Iterator[Exclusive]:
    """Waits for the lock `name`, and holds it; while it waits, it names the holder to `say`.

    `check` raises Stopped if the wait must not go on.
    """
    locks, waiting = instance_locks(instance), _Waiting(say, check)
    with held(locks, name, holder, waiting=waiting) as lock:
        waiting.end()
        last = _released(instance, name)
        note_released(instance, name, "")
        try:
            yield Exclusive(lock, max(0.0, locks.now() - last) if last is not None else 0.0)
        finally:
            # Another process may hold the lock by now, so it must not be noted as free. Without the
            # note the next holder treats the lock as just freed.
            with suppress(PolycopyError):
                lock.check()
                note_released(instance, name, str(locks.now()))


class _Waiting:
    """Says now and then which holder it is waiting for."""

    def __init__(self, say: Callable[[str], None], check: Callable[[], None]) -> None:
        self._say = say
        self._check = check
        self._said = float("-inf")

    def __call__(self, holder: Holder | None) -> None:
        self._check()
        if holder is not None and time.monotonic() - self._said > _SAY_SECONDS:
            self._said = time.monotonic()
            self._say(f"Waiting for {holder}. {holder.advice}")

    def end(self) -> None:
        """The wait is over."""
        if self._said != float("-inf"):
            self._say("")


def _key(name: str) -> str:
    return f"polycopy/released/{name}"


def _released(instance: dg.DagsterInstance, name: str) -> float | None:
    """When the lock was last freed, epoch seconds; None if its holder died; 0 if never held.

    Versions before the locks noted this under a different key, and wrote `held …` while they
    worked.
    """
    key, older = _key(name), f"polycopy/turn/{name}"
    noted = instance.daemon_cursor_storage.get_cursor_values({key, older})
    text = noted.get(key, noted.get(older, "0").partition(" ")[0])
    return float(text) if text not in ("", "held") else None


def note_released(instance: dg.DagsterInstance, name: str, when: str) -> None:
    """Notes when the lock was last freed, epoch seconds as text; empty while it is held."""
    instance.daemon_cursor_storage.set_cursor_values({_key(name): when})
