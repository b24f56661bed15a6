"""How many processors there are for this process."""

import os


def processors() -> int:
    """The processors that this process may use; those of the machine where that is unknown."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
