"""A process of Python beside a test, which tells it line by line how far it is."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Talking:
    """The process, and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def line(self) -> str:
        """The next line that it prints, without its end; empty if it prints no more."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def talking(code: str, *arguments: str) -> Iterator[Talking]:
    """Runs `code` with these arguments and an open input while the context lasts, then kills it."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Talking(process)
        finally:
            process.kill()
