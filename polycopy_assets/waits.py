"""What this process is waiting for: a locked file, and who has locked it.

Whoever waits says so here, and whoever shows progress asks: neither needs to know the other.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SAY_AFTER_SECONDS = 2.0
"""A wait that is shorter is not worth a line."""

LOG_EVERY_SECONDS = 60.0

_LOG = logging.getLogger(__name__)


class Wait:
    """One wait: what it is for, how long it lasts already, and when it is given up."""

    def __init__(self, what: Callable[[], str], patience: float) -> None:
        self._what = what
        self._patience = patience
        self._started = self._logged = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it lasts already."""
        return time.monotonic() - self._started

    def line(self) -> str:
        """One line for people."""
        return f"{self._what()}; waited {self.seconds:.0f} s of at most {self._patience:.0f} s"

    def log(self) -> None:
        """Logs the line when it becomes worth one, and once a minute from then on."""
        now = time.monotonic()
        first = self._logged == self._started
        if now - self._logged >= (SAY_AFTER_SECONDS if first else LOG_EVERY_SECONDS):
            self._logged = now
            _LOG.warning(self.line())


_WAITS: list[Wait] = []
_LOCK = threading.Lock()


@contextmanager
def waiting(what: Callable[[], str], patience: float) -> Iterator[Wait]:
    """Says while the context lasts that the caller waits for what `what` tells."""
    wait = Wait(what, patience)
    with _LOCK:
        _WAITS.append(wait)
    try:
        yield wait
    finally:
        with _LOCK:
            _WAITS.remove(wait)


def line() -> str:
    """What this process has been waiting for longest; empty if for nothing worth a line."""
    with _LOCK:
        oldest = min(_WAITS, key=lambda wait: -wait.seconds, default=None)
    return oldest.line() if oldest and oldest.seconds >= SAY_AFTER_SECONDS else ""
