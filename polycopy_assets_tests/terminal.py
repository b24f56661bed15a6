"""The command in a terminal of its own, where it is the foreground group and ^C is a key."""

import contextlib
import errno
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyte

from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.dev import processes

_TERMINAL = {"TERM": "xterm", "NO_COLOR": "1"}
_CTRL_C = b"\x03"
_ROWS, _COLUMNS = 40, 200
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FOREGROUND = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A command in a terminal; `shown` is all that it has shown so far."""

    def __init__(self, process: subprocess.Popen[bytes], keys: int, columns: int) -> None:
        self._columns = columns
        self._process = process
        self._keys = keys
        self._bytes = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The command's process, which leads its session."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    @property
    def shown(self) -> str:
        # The terminal's echo may come in the middle of a control sequence.
        return self._bytes.replace(b"^C", b"").decode(errors="replace")

    @property
    def output(self) -> bytes:
        """All that it has shown so far, with its control sequences."""
        return bytes(self._bytes)

    @property
    def lines(self) -> list[str]:
        """What was shown, line by line, without control sequences and echoes of ^C."""
        plain = _CONTROL.sub("", self.shown)
        return [line.rstrip() for line in re.split(r"[\r\n]+", plain) if line.strip()]

    @property
    def screen(self) -> list[str]:
        """What a person sees now: the lines of the screen, without empty ones at the end."""
        screen = pyte.Screen(self._columns, _ROWS)
        pyte.ByteStream(screen).feed(bytes(self._bytes))
        return [line.rstrip() for line in "\n".join(screen.display).rstrip().split("\n")]

    def resize(self, columns: int) -> None:
        """The window becomes narrower or wider; the command is told, as by a real terminal."""
        _resize(self._keys, columns)
        self._columns = columns

    def press_ctrl_c(self) -> None:
        """The terminal sends SIGINT to its foreground process group, if that is still there."""
        os.write(self._keys, _CTRL_C)

    def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Waits until the condition holds; the command must not end before."""
        started = time.monotonic()
        while not condition():
            assert self.runs, self.lines[-20:]
            assert time.monotonic() - started < seconds, self.lines[-20:]
            time.sleep(0.005)

    def until_loaded(self, library: str) -> None:
        """Waits until the command has imported a library that is a shared object."""
        maps = Path("/proc") / str(self.pid) / "maps"
        self.until(lambda: library in maps.read_text())

    def end(self, seconds: float = 60) -> int:
        """Waits until it ends; its exit code. Nothing of its session is left."""
        code = self._process.wait(seconds)
        self._reader.join(5)
        assert processes(self.pid) == []
        hidden = self.shown.rfind(_HIDE)
        assert hidden <= self.shown.rfind(_SHOW), "the cursor stays hidden"
        return code

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._keys, 65_536)
            except OSError as error:
                assert error.errno == errno.EIO, error  # noqa: PT017 - the other side is closed
                return
            self._bytes += chunk


def _resize(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))


@contextmanager
def in_terminal(
    deployment: Deployment, *args: str, columns: int = _COLUMNS, **environ: str
) -> Iterator[Terminal]:
    """`polycopy ARGS` in a new terminal; what is left of it at the end is killed."""
    command = ("-m", "polycopy_assets", *args)
    environ = {**deployment.process_environ(), **_TERMINAL, **environ}
    with python_in_terminal(command, environ, deployment.root, columns) as terminal:
        yield terminal


@contextmanager
def python_in_terminal(
    command: Sequence[str], environ: Mapping[str, str], cwd: Path, columns: int = _COLUMNS
) -> Iterator[Terminal]:
    """`python COMMAND` in a new terminal; what is left of it at the end is killed."""
    with program_in_terminal([sys.executable, *command], environ, cwd, columns) as terminal:
        yield terminal


@contextmanager
def program_in_terminal(
    command: Sequence[str], environ: Mapping[str, str], cwd: Path, columns: int = _COLUMNS
) -> Iterator[Terminal]:
    """A program, by its path, in a new terminal; what is left of it at the end is killed."""
    keys, screen = os.openpty()
    _resize(screen, columns)
    process = subprocess.Popen(
        [sys.executable, "-c", _FOREGROUND, *command],
        env=dict(environ),
        cwd=cwd,
        stdin=screen,
        stdout=screen,
        stderr=screen,
        start_new_session=True,
    )
    os.close(screen)
    try:
        yield Terminal(process, keys, columns)
    finally:
        for pid in processes(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait(10)
        os.close(keys)
