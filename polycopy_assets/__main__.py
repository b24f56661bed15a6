"""Where the `polycopy` command starts: its arguments, then `.env`, the settings, the command."""

import errno
import gc
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.system.interrupt import (
    TO_BE_CONTINUED,
    continues_later,
    end_interrupted,
    ignore_ctrl_c,
    on_interrupt,
    say_once,
)
from polycopy_assets.system.output import end_by_sigpipe, is_of_output, reader_has_gone
from polycopy_assets.system.threads import MAY_HANG

TRACEBACK = "POLYCOPY_TRACEBACK"
_COMPLETES = "_POLYCOPY_COMPLETE"
"""What a completion script sets when a shell asks for the words that may follow."""


def main() -> None:
    """Runs the command. Any error is one line on standard error.

    Exit code 2 if a setting or the command line is wrong.
    """
    _open_standard_streams()
    try:
        # Covers the time until the command begins: imports take seconds, and may swallow an
        # interrupt.
        if any(word.partition("=")[0] == "--for" for word in sys.argv[1:]):
            continues_later()
        _begin_to_listen()
        say_once()
        _run()
    except SystemExit as ended:
        _flush()
        ignore_ctrl_c()  # else it kills a command whose work is done, as the interpreter ends
        _leave_what_hangs(ended.code)
        raise
    except ConfigurationError as error:
        _end(str(error), 2)
    except BrokenPipeError as error:
        if reader_has_gone():  # of standard error, as it was told what is wrong
            end_by_sigpipe()
        _end(str(error), 1)
    except OSError as error:
        _end(_unwritten(error) if is_of_output(error) else str(error), 1)
    except Exception as error:
        if isinstance(error, UnicodeEncodeError) and error.encoding == sys.stdout.encoding:
            _end(_lacks(error), 1)
        if os.environ.get(TRACEBACK):
            raise
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _end(f"{what} (unexpected; {TRACEBACK}=1 shows where)", 1)


def _begin_to_listen() -> None:
    """From now on an interrupt is one line; none where a shell asks what may follow in its own."""
    if _COMPLETES in os.environ:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    else:
        on_interrupt(end_interrupted)


def _flush() -> None:
    """Ends with an error if the output cannot be written: it is closed, or its disk is full."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        end_by_sigpipe()
    except OSError as error:
        _end(_unwritten(error), 1)


def _unwritten(error: OSError) -> str:
    why = "it is closed" if error.errno == errno.EBADF else error.strerror
    return f"cannot write to standard output: {why}"


def _lacks(error: UnicodeEncodeError) -> str:
    letter = error.object[error.start]
    return (
        f"standard output is {error.encoding}, which lacks U+{ord(letter):04X}: set"
        " PYTHONUTF8=1, or a locale in UTF-8"
    )


def _leave_what_hangs(code: object) -> None:
    """Ends the process if a thread hangs in a call: Python would wait for it, or end under it.

    And if it ends for want of time: its end by Python took six seconds once, of the ten it had.
    """
    if code == TO_BE_CONTINUED or any(thread.name in MAY_HANG for thread in threading.enumerate()):
        os._exit(code if isinstance(code, int) else 1)


def _run() -> None:
    from polycopy_assets.cli import polycopy  # noqa: PLC0415 - the import may be interrupted

    # Nothing that is imported becomes garbage, but the collector looks through all of it again and
    # again: a fifth of a short command's time.
    gc.disable()
    try:
        polycopy(prog_name="polycopy", obj=_begin)
    finally:
        gc.unfreeze()  # else DuckDB takes what is frozen for leaks, and says so at the end


def _begin() -> None:
    """Reads `.env` and checks the settings, once the command is imported. Not for `--help`."""
    gc.freeze()
    gc.enable()
    from polycopy_assets.settings import place  # noqa: PLC0415 - the same
    from polycopy_assets.settings.env_file import take  # noqa: PLC0415 - the same
    from polycopy_assets.settings.environment import settings  # noqa: PLC0415 - the same

    here, given = _started_in(), frozenset(os.environ)
    root = place.root(here)
    said = [take(os.environ, root)]
    if root != here:
        place.anchor(os.environ, root, given)
        said.append(f"working in {root}, where {place.FOLDER} is")
    for line in filter(None, said):
        print(f"polycopy: {line}", file=sys.stderr)  # noqa: T201
    os.umask(settings().umask)


def _started_in() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigurationError(
            f"the directory you are in cannot be used ({error.strerror}): change to another"
        ) from error


def _open_standard_streams() -> None:
    """Opens standard input, output and error on the null device if they are closed.

    Else the next file that is opened, a database for instance, would become standard output. What
    is written to standard output then fails: a result that nobody gets is no success.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # Takes the lowest number that is free: this one.
            os.open(os.devnull, os.O_RDONLY if name == "stdout" else os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _end(text: str, code: int) -> NoReturn:
    """Ends the process, even if its output can no longer be written."""
    try:
        if text:
            print(f"polycopy: {' '.join(text.split())}", file=sys.stderr, flush=True)  # noqa: T201
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
