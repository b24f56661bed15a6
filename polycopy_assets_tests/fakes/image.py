"""What the image of `deploy/Containerfile` runs, as processes of this machine: no container.

https://cloud.google.com/run/docs/configuring/jobs/containers: a job's `command` stands for the
image's ENTRYPOINT, and its `args` for the image's CMD. Without an ENTRYPOINT and a `command`, the
first of the `args` is the program.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from polycopy_assets_tests.dev import ROOT

CONTAINERFILE = ROOT / "deploy" / "Containerfile"
_PROGRAMS = "/opt/polycopy/bin"
_WRITABLE = ("/scratch", "/tmp")


class NotStarted(Exception):
    """The container has no such program."""


class Image:
    """The last stage of a Containerfile: what it starts, and with which environment."""

    def __init__(self, text: str | None = None) -> None:
        lines = re.sub(r"\\\n\s*", "", CONTAINERFILE.read_text() if text is None else text)
        self.entrypoint = _words(lines, "ENTRYPOINT")
        self.cmd = _words(lines, "CMD")
        self.environ = {
            name: value
            for line in re.findall(r"^ENV (.*)$", lines, re.MULTILINE)
            for name, value in (each.split("=", 1) for each in line.split())
        }

    def command_line(self, command: Sequence[str], args: Sequence[str]) -> list[str]:
        """The program of a container and its arguments."""
        if command:
            return [*command, *args]
        return [*self.entrypoint, *(args or self.cmd)]

    def start(
        self,
        command: Sequence[str],
        args: Sequence[str],
        environ: Mapping[str, str],
        disk: Path,
        log: Path,
    ) -> subprocess.Popen[bytes]:
        """Starts a container as a process, whose output goes to `log`.

        What the image and `environ` name below /scratch and /tmp lies below `disk`. The programs
        are those of this environment. Raises NotStarted if there is no such program.
        """
        own = {
            name: _on(disk, value).replace(_PROGRAMS, str(Path(sys.executable).parent))
            for name, value in {**self.environ, **environ}.items()
        }
        line = self.command_line(command, args)
        program = shutil.which(line[0], path=own["PATH"])
        if program is None:
            raise NotStarted(f'exec: "{line[0]}": executable file not found in $PATH')
        for place in _WRITABLE:
            (disk / place[1:]).mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            return subprocess.Popen(
                [program, *line[1:]],
                env=own,
                cwd=disk / "scratch",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )


def _words(lines: str, instruction: str) -> list[str]:
    found = re.findall(rf"^{instruction} (\[.*\])$", lines, re.MULTILINE)
    return [str(word) for word in json.loads(found[-1])] if found else []


def _on(disk: Path, value: str) -> str:
    inside = any(value == place or value.startswith(f"{place}/") for place in _WRITABLE)
    return f"{disk}{value}" if inside else value
