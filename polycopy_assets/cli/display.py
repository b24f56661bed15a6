"""The progress of a long command: a bar on a terminal, plain lines elsewhere."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from polycopy_assets.fetch.progress import Progress
from polycopy_assets.system import waits

LINE_EVERY_SECONDS = 10.0
_REFRESH_SECONDS = 0.2


@contextmanager
def shown(progress: Progress, title: str) -> Iterator[None]:
    """Shows `progress` of what `title` names on standard error until the context ends."""
    ended, stream = threading.Event(), sys.stderr
    show = _bar if stream.isatty() else _lines
    thread = threading.Thread(target=show, args=(progress, title, stream, ended), name="display")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _lines(progress: Progress, _title: str, stream: TextIO, ended: threading.Event) -> None:
    while not ended.wait(LINE_EVERY_SECONDS):
        if told := _told(progress):
            print(told, file=stream, flush=True)


def _told(progress: Progress) -> str:
    """What the process waits for, or its progress; empty before any work has begun."""
    busy = progress.step or progress.wallets
    return waits.line() or (progress.line() if busy else "")


class _Line(ProgressColumn):
    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:  # noqa: ARG002 - rich asks for it
        return Text(_told(self._progress) or "preparing")


def _bar(progress: Progress, title: str, stream: TextIO, ended: threading.Event) -> None:
    console = Console(file=stream)
    columns = (TextColumn("{task.description}"), BarColumn(), _Line(progress))
    with Bar(*columns, console=console, auto_refresh=False) as bar:
        task = bar.add_task(title, total=None)
        going = True
        while going:
            going = not ended.wait(_REFRESH_SECONDS)
            done, total = progress.share
            bar.update(task, total=total or None, completed=done)
            bar.refresh()
