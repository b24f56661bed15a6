"""What this process is waiting for: a locked file, and the process that has locked it.

Code that waits registers here, and displays of progress read it: neither knows the other.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SAY_AFTER_SECONDS = 2.0
"""A shorter wait is not reported."""

LOG_EVERY_SECONDS = 60.0

_LOG = logging.getLogger(__name__)


class Wait:
    """One wait: what it is for, how long it has lasted, and when it ends."""

    def __init__(self, what: Callable[[], str], patience: float) -> None:
        self._what = what
        self._patience = patience
        self._started = self._logged = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self._started

    def line(self) -> str:
        """One line for people."""
        return f"{self._what()}; waited {self.seconds:.0f} s of at most {self._patience:.0f} s"

    def log(self) -> None:
        """Logs the line once the wait is long enough, and then once a minute."""
        now = time.monotonic()
        first = self._logged == self._started
        if now - self._logged >= (SAY_AFTER_SECONDS if first else LOG_EVERY_SECONDS):
            self._logged = now
            _LOG.warning(self.line())


_WAITS: list[Wait] = []
_LOCK = threading.Lock()


@contextmanager
def waiting(what: Callable[[], str], patience: float) -> Iterator[Wait]:
    """Registers, while the context lasts, that the caller waits for what `what` names."""
    wait = Wait(what, patience)
    with _LOCK:
        _WAITS.append(wait)
    try:
        yield wait
    finally:
        with _LOCK:
            _WAITS.remove(wait)


def line() -> str:
    """The longest wait of this process; empty if none is long enough to report."""
    with _LOCK:
        oldest = min(_WAITS, key=lambda wait: -wait.seconds, default=None)
    return oldest.line() if oldest and oldest.seconds >= SAY_AFTER_SECONDS else ""
