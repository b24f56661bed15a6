"""The clock of this machine, as records and decisions use it."""

import time


def now() -> float:
    """The time, epoch seconds."""
    return time.time()
