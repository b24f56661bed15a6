"""Errors of standard output, told apart from those of files and databases."""

import os
import select
import signal
import sys
from typing import NoReturn

_PRINTERS = frozenset(
    {"click.utils", "polycopy_assets.cli.answers", "polycopy_assets.cli.query"},
)


def is_of_output(error: OSError) -> bool:
    """Whether `error` was raised as a command printed its result: it names no file itself.

    Trying once more would not tell: an unbuffered output (PYTHONUNBUFFERED) keeps nothing back.
    """
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return bool(trace) and trace.tb_frame.f_globals.get("__name__") in _PRINTERS


def reader_has_gone() -> bool:
    """Whether whoever read standard output or error has closed it, as `head` does."""
    broken = select.POLLERR | select.POLLHUP
    asked = select.poll()
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            asked.register(stream.fileno(), select.POLLOUT)
    return any(event & broken for _, event in asked.poll(0))


def end_by_sigpipe() -> NoReturn:
    """Ends the process as a closed pipe ends `cat` and `git`: silently, 141 for a shell.

    Python ignores SIGPIPE, so that writing raises BrokenPipeError and there is time to clean up.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    os._exit(128 + signal.SIGPIPE)  # the first process of a container does not die of it
