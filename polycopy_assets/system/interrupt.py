"""Ctrl-C and SIGTERM: a command treats both alike, at any time, and says so in one line.

Ctrl-C often arrives twice, because a terminal sends it to the whole process group. A signal within
`SAME_PRESS_SECONDS` counts as the same press, so that it does not interrupt the orderly shutdown
that the first one began.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = "interrupted: start it again, it continues where it stopped"
EXIT_CODE = 130
"""What shells say of a process that Ctrl-C has ended: 128 and the number of the signal."""

TO_BE_CONTINUED = os.EX_TEMPFAIL
"""75: nothing is wrong, only time is missing; the same command continues."""

SAME_PRESS_SECONDS = 2.0

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NEVER = float("-inf")


class _Press:
    """When the process was last told to stop, in monotonic seconds."""

    def __init__(self) -> None:
        self.at = _NEVER

    def is_new(self) -> bool:
        """Whether a signal that arrives now is a new press."""
        if time.monotonic() - self.at <= SAME_PRESS_SECONDS:
            return False
        self.at = time.monotonic()
        return True


_RAISED = _Press()
"""The last KeyboardInterrupt of this process."""

_PASSED_ON = _Press()
"""The last press that `one_press` passed on."""


class _Sigterm:
    """What this process makes of SIGTERM: the exit code, and `note` to be called in its place."""

    def __init__(self) -> None:
        self.exit_code = EXIT_CODE
        self.note: Callable[[], None] | None = None

    def is_noted(self, number: int) -> bool:
        """Whether the signal was SIGTERM and was noted, so that nothing else is to be done."""
        if number != signal.SIGTERM or self.note is None:
            return False
        _PASSED_ON.at = time.monotonic()
        self.note()
        return True


_SIGTERM = _Sigterm()


def continues_later() -> None:
    """From now on an interrupt ends this process with TO_BE_CONTINUED."""
    _SIGTERM.exit_code = TO_BE_CONTINUED


@contextmanager
def noting_sigterm(note: Callable[[], None]) -> Iterator[None]:
    """Calls `note` in place of raising KeyboardInterrupt when SIGTERM arrives.

    Code of others may have handlers of its own meanwhile: see `cli/runs.py`.
    """
    _SIGTERM.note = note
    try:
        yield
    finally:
        _SIGTERM.note = None


def was_interrupted() -> bool:
    """Whether this process was interrupted: then its writes should not wait long."""
    return _RAISED.at != _NEVER or _PASSED_ON.at != _NEVER


def on_interrupt(stop: Callable[[int, FrameType | None], object]) -> None:
    """Calls `stop` when the process is told to stop; if SIGINT was ignored, it stays ignored."""
    for number in _SIGNALS:
        if number != signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Raises KeyboardInterrupt in the context when the process is told to stop.

    The context always ends with that exception: DuckDB turns an interrupt of a query into its own
    error, which the code in the context may record as a failure.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    began = time.monotonic()
    on_interrupt(_raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if _RAISED.at >= began:
            raise KeyboardInterrupt


@contextmanager
def one_press() -> Iterator[Callable[[], bool]]:
    """Passes a press on to the current handlers once; yields a function that says if it came.

    Other code may swallow the exceptions of the handlers, so long work should ask now and then.
    """
    press, before = _Press(), {number: signal.getsignal(number) for number in _SIGNALS}

    def pass_on(number: int, frame: FrameType | None) -> None:
        handler = before[signal.Signals(number)]
        if _SIGTERM.is_noted(number):
            return
        if press.is_new() and callable(handler):
            _PASSED_ON.at = press.at
            handler(number, frame)

    passed = [number for number, handler in before.items() if callable(handler)]
    if threading.current_thread() is not threading.main_thread():
        passed = []  # signals reach the main thread alone
    for number in passed:
        signal.signal(number, pass_on)
    try:
        yield lambda: press.at != _NEVER
    finally:
        for number in passed:
            if signal.getsignal(number) is pass_on:
                signal.signal(number, before[number])


def interrupt() -> NoReturn:
    """Raises KeyboardInterrupt, for a signal that has arrived."""
    _RAISED.at = time.monotonic()
    raise KeyboardInterrupt


def end_interrupted(_signal: int = 0, _frame: FrameType | None = None) -> NoReturn:
    """Reports the interrupt in one line, and ends the process at once.

    During the imports there is nothing to clean up. Later, the interpreter would tear down a step
    that Dagster left suspended, late, and with messages about leaks; the step's work may end at any
    point.
    """
    on_interrupt(_nothing)  # not SIG_IGN: Python complains about a signal that is being handled
    os.write(sys.stderr.fileno(), f"polycopy: {INTERRUPTED}\n".encode())
    os._exit(_SIGTERM.exit_code)


def say_once() -> None:
    """Stops libraries from printing tracebacks of an interrupt; to be called once in a process.

    SQLAlchemy logs an interrupt that hits the end of a connection, Python one in a finalizer.
    """
    if logging.lastResort is not None:
        logging.lastResort.addFilter(
            lambda entry: not (entry.exc_info and _is_interrupt(entry.exc_info[1]))
        )
    shown = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not _is_interrupt(unraisable.exc_value):
            shown(unraisable)

    sys.unraisablehook = hook


def ignore_ctrl_c() -> None:
    """Ignores Ctrl-C from now on: for a command that has reported its result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether it is KeyboardInterrupt, or what Dagster raises instead: neither is an Exception."""
    return error is not None and not isinstance(error, Exception)


def _raise(number: int, _frame: FrameType | None) -> None:
    if not _SIGTERM.is_noted(number) and _RAISED.is_new():
        raise KeyboardInterrupt


def _nothing(_signal: int, _frame: FrameType | None) -> None:
    pass
