"""A new user: a home, an environment, a terminal and a browser. All that they see is kept."""

import functools
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from polycopy_assets.demo.server import Served
from polycopy_assets_tests.browser.pages import Pages, browser
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.first_hour.screen import COLUMNS, draw
from polycopy_assets_tests.packages import ROOT
from polycopy_assets_tests.terminal import Terminal, program_in_terminal

PICTURES = ROOT / ".first-hour"
_LONG = 300
_HOME = b"/home/ada/trades"
"""What pictures show instead of the temporary directory."""

_P = ParamSpec("_P")
_R = TypeVar("_R")
_OURS = ("POLYCOPY_", "DAGSTER_", "DOME_", "PYTHON", "PYTEST_", "VIRTUAL_ENV", "NO_COLOR")


class Hour:
    """What the steps of the first hour share.

    `kept` looks into the places that the commands use when nothing is set.
    """

    def __init__(self, root: Path, served: Served) -> None:
        self.home = root / "home"
        self.home.mkdir()
        self.environment = root / "environment"
        self.served = served
        self.kept = Deployment(self.home / ".polycopy", served.url)
        self.step = 0

    @property
    def environ(self) -> dict[str, str]:
        """The user's environment: the programs of the new one, and where the source is."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_OURS) and not name.lower().endswith("_proxy")
        }
        return {
            **inherited,
            "PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "POLYCOPY_SOURCE_URL": self.served.url,
        }

    @contextmanager
    def typed(self, line: str, name: str) -> Iterator[Terminal]:
        """A command as it is typed, in a terminal; a picture of it is kept at the end."""
        program, *args = shlex.split(line)
        command = [str(self.environment / "bin" / program), *args]
        with program_in_terminal(command, self.environ, self.home, COLUMNS) as terminal:
            try:
                yield terminal
            finally:
                self.draw(line, terminal, name)

    def run(self, line: str, name: str, code: int = 0) -> str:
        """Runs a command to its end, which has this exit code; what it has shown."""
        with self.typed(line, name) as terminal:
            ended = terminal.end(_LONG)
            assert ended == code, (line, ended, terminal.lines)
        return "\n".join(terminal.lines)

    def answer(self, line: str) -> str:
        """What a command writes into a pipe, as for a script; its exit code is 0."""
        program, *args = shlex.split(line)
        command = [str(self.environment / "bin" / program), *args]
        return subprocess.check_output(
            command, env=self.environ, cwd=self.home, text=True, timeout=_LONG
        )

    def draw(self, line: str, terminal: Terminal, name: str) -> None:
        """Keeps a picture of a terminal as it is now."""
        shown = terminal.output.replace(str(self.home).encode(), _HOME)
        draw(f"$ {line}\r\n".encode() + shown, self._picture(name))

    @contextmanager
    def browsing(self, url: str) -> Iterator[Pages]:
        """A browser on Dagster's UI; if a step fails there, its page is kept."""
        with browser(url, PICTURES) as pages:
            try:
                yield pages
            except BaseException:
                pages.page.screenshot(path=self._picture("failed"))
                raise

    def shot(self, pages: Pages, name: str) -> None:
        """Keeps a picture of a page, once it has stopped moving."""
        pages.shot(self._picture(name).stem)

    def _picture(self, name: str) -> Path:
        return PICTURES / f"{self.step:02}-{name}.png"


def step(function: Callable[Concatenate[Hour, _P], _R]) -> Callable[Concatenate[Hour, _P], _R]:
    """A step of the hour: it is counted and timed, and an error in it says in which step."""
    title = function.__name__.replace("_", " ")

    @functools.wraps(function)
    def named(hour: Hour, *args: _P.args, **options: _P.kwargs) -> _R:
        hour.step, started = hour.step + 1, time.monotonic()
        try:
            result = function(hour, *args, **options)
        except BaseException as error:
            error.add_note(f"Step {hour.step} of the first hour: {title}. Pictures: {PICTURES}")
            raise
        print(f"{hour.step:>3}. {title}: {time.monotonic() - started:.1f} s")
        return result

    return named
