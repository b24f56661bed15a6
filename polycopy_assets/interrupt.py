"""Ctrl-C and SIGTERM: the same to a command, whenever they come."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

INTERRUPTED = "interrupted: start it again, it goes on where it was"


def on_interrupt(stop: Callable[[int, FrameType | None], NoReturn]) -> None:
    """Has `stop` called when the process is told to stop; SIGINT stays ignored where it was."""
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)


def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Raises KeyboardInterrupt."""
    raise KeyboardInterrupt
