"""Ctrl-C and SIGTERM: the same to a command, whenever they come."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

INTERRUPTED = "interrupted: start it again, it goes on where it was"


def on_interrupt(stop: Callable[[int, FrameType | None], NoReturn]) -> None:
    """Has `stop` called when the process is told to stop; SIGINT stays ignored where it was."""
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)


def end_interrupted(_signal: int = 0, _frame: FrameType | None = None) -> NoReturn:
    """Says so in one line, and ends the process as it is.

    While it imports, it has begun nothing that would have to be ended. Later, a step that Dagster
    left suspended would be torn down with the interpreter, late, and with lines about leaks;
    whatever it was at may end anywhere.
    """
    os.write(sys.stderr.fileno(), f"polycopy: {INTERRUPTED}\n".encode())
    os._exit(1)


def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Raises KeyboardInterrupt."""
    raise KeyboardInterrupt
