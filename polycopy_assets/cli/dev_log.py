"""What `polycopy dev` shows of what Dagster's processes say: that the UI is ready, and what failed.

The webserver, the daemon, the code server and every run write each of their steps to one terminal,
in the format of Dagster's console. A process of its own reads them and passes on what a user needs.
So `polycopy dev` itself stays `dagster dev`, with its signals and its exit code.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_RECORD = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} - (?P<logger>\S+) - (?P<level>[A-Z]+) - "
)
_READY = re.compile(r" - Serving dagster-webserver on (?P<url>http://\S+)")
_QUIET = frozenset({"DEBUG", "INFO"})
_HARMLESS = (
    " - No cursor for event type ",  # the first start on an instance
)
_ENDS = b"Ending Dagster's processes and its runs: this may take some seconds\n"
_TRACE = "Traceback (most recent call last):"
_FAILURE = re.compile(r"dagster\.(\S+\.)?Failure: ")
_STACK = "Stack Trace:"
_SUPERSEDED = "SupersessionWarning: Function `dev_command`"


def needed(lines: Iterable[str], ending: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """The lines that a user needs: warnings, errors with their traceback, and that the UI is ready.

    A line that is no record of a log belongs to the record before it; but a traceback is of no
    quiet record: it is why a process has ended, as if the code server is not up in time. What comes
    before the first record is kept: it says why Dagster did not start. A `dagster.Failure` says in
    plain words what failed, so where it was raised is left out. When it is `ending`, what is
    interrupted has no traceback.
    """
    shown, told, skip = True, False, 0
    for line in lines:
        if skip:
            skip -= 1
            continue
        if _SUPERSEDED in line:
            skip = 1  # the line of code that Python quotes
            continue
        plain = _COLOR.sub("", line)
        if ready := _READY.search(plain):
            shown = False
            yield f"Dagster's UI is ready: {ready['url']} (^C ends it, and its runs)\n"
            continue
        record = _RECORD.match(plain)
        if record:
            told = False
            shown = record["level"] not in _QUIET and not any(it in plain for it in _HARMLESS)
        elif plain.startswith(_TRACE):
            shown = True
        elif _FAILURE.match(plain):
            told = True
        elif told and plain.startswith(_STACK):
            shown = False
        if shown and (record or not ending()):
            yield line


def show_needed() -> None:
    """Sends what this process writes, and what it becomes, through a process of `main`."""
    read, write = os.pipe()
    subprocess.Popen(  # noqa: S603 - every part is ours
        [sys.executable, "-m", __name__], stdin=read, stdout=sys.stderr.fileno()
    )
    for number in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(write, number)
    os.close(read)
    os.close(write)


def main() -> None:
    """Shows what is needed of standard input, until all its writers have ended."""
    ending: list[int] = []  # what is said about the end is shown as well, so it goes on reading

    def ends(number: int, _frame: FrameType | None) -> None:
        if not ending:
            os.write(sys.stdout.fileno(), _ENDS)
        ending.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ends)
    sys.stdin.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    for line in needed(sys.stdin, lambda: bool(ending)):
        sys.stdout.write(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
