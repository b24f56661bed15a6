"""Where the `polycopy` command starts: its arguments, then `.env`, the settings, the command."""

import os
import sys
from pathlib import Path
from typing import NoReturn

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.interrupt import end_interrupted, on_interrupt

TRACEBACK = "POLYCOPY_TRACEBACK"


def main() -> None:
    """Runs the command. Whatever goes wrong is one line on standard error.

    Exit code 2 if it is a setting, or how the command was started.
    """
    _open_standard_streams()
    try:
        # Until the command begins: the imports take seconds, and may swallow a KeyboardInterrupt.
        on_interrupt(end_interrupted)
        _run()
    except SystemExit:
        _flush()
        raise
    except ConfigurationError as error:
        _end(str(error), 2)
    except BrokenPipeError:
        _end("", 1)
    except OSError as error:
        _end(str(error), 1)
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _end(f"{what} (not expected; {TRACEBACK}=1 shows where)", 1)


def _flush() -> None:
    """Says so if what was printed cannot be written: a pipe that is closed, a full disk."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _end("", 1)
    except OSError as error:
        _end(f"cannot write to standard output: {error.strerror}", 1)


def _run() -> None:
    from polycopy_assets.cli import polycopy  # noqa: PLC0415 - what is imported may be interrupted

    polycopy(obj=_read_settings)


def _read_settings() -> None:
    """Takes `.env` and checks the settings: once it is sure which command runs, so not for help."""
    from polycopy_assets.assembly import settings  # noqa: PLC0415 - the same
    from polycopy_assets.env_file import take  # noqa: PLC0415 - the same

    said = take(os.environ, _started_in())
    if said:
        print(f"polycopy: {said}", file=sys.stderr)  # noqa: T201
    os.umask(settings().umask)


def _started_in() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigurationError(
            f"the directory you are in cannot be used ({error.strerror}): change to another"
        ) from error


def _open_standard_streams() -> None:
    """Opens what is closed of standard input, output and error, to nothing.

    Else the next file that is opened would be the standard output: a database, for instance.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _end(text: str, code: int) -> NoReturn:
    """Ends the process, and does not stumble over output that nobody takes any more."""
    try:
        if text:
            print(f"polycopy: {' '.join(text.split())}", file=sys.stderr, flush=True)  # noqa: T201
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
