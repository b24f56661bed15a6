"""The progress of a long command: a bar on a terminal, plain lines elsewhere."""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from time import monotonic

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from polycopy_assets.cli.talk import is_quiet, is_verbose
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.system import waits
from polycopy_assets.text import duration

LINE_EVERY_SECONDS = 10.0
_REFRESH_SECONDS = 0.2
_BETWEEN, _INDENT = " · ", "  "
_BAR_COLUMNS, _LEAST_FOR_A_BAR = 24, 60
_LEFT_FREE = 3
"""Columns at the end of a line: the echo of ^C there would break it, and the picture with it."""

_MOST_LINES = 4


@contextmanager
def shown(progress: Progress, title: str) -> Iterator[None]:
    """Shows `progress` of what `title` names on standard error until the context ends.

    With `--quiet` nothing; with `--verbose` as lines, between those of the log.
    """
    if is_quiet():
        yield
        return
    ended, stream = threading.Event(), sys.stderr
    console = Console(file=stream, highlight=False)
    drawn = stream.isatty() and not console.is_dumb_terminal and not is_verbose()
    show = _bar if drawn else _lines
    thread = threading.Thread(target=show, args=(progress, title, console, ended), name="display")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _lines(progress: Progress, _title: str, console: Console, ended: threading.Event) -> None:
    while not ended.wait(LINE_EVERY_SECONDS):
        if told := waits.line() or (progress.line() if progress.pieces() else ""):
            print(told, file=console.file, flush=True)


def _bar(progress: Progress, title: str, console: Console, ended: threading.Event) -> None:
    with Live(_Picture(progress, title), console=console, auto_refresh=False) as live:
        going = True
        while going:
            going = not ended.wait(_REFRESH_SECONDS)
            live.refresh()


class _Picture:
    """The title, a bar where there is room for one, and below it what there is to say."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress, self._title = progress, title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress, width = self._progress, options.max_width - _LEFT_FREE
        first, *others = [told] if (told := waits.line()) else progress.pieces() or ["preparing"]
        spent = duration(monotonic() - progress.started)
        if width >= _LEAST_FOR_A_BAR:
            yield _with_bar(self._title, progress, width, f"{first}{_BETWEEN}{spent}")
        else:
            yield _line(f"{self._title} {first}{_BETWEEN}{spent}", width)
        for line in fitted(others, width):
            yield _line(line, width)


def _with_bar(title: str, progress: Progress, width: int, text: str) -> Table:
    done, total = progress.share
    row = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=total or None, completed=done, width=_BAR_COLUMNS, pulse=not total)
    row.add_row(title, bar, _line(text, width - len(title) - _BAR_COLUMNS - 2))
    return row


def _line(text: str, width: int) -> Text:
    """The text in one line of at most `width` columns; an ellipsis says that there is more."""
    if cell_len(text) > width:
        text = set_cell_size(text, max(width - 1, 0)).rstrip() + "…"
    return Text(text, no_wrap=True, end="\n")


def fitted(pieces: Sequence[str], width: int) -> list[str]:
    """Lines of at most `width` columns, each with as many whole pieces as fit, at most four.

    A piece that is longer than a line has a line of its own, or two: what it is about, and what
    stands behind its colon.
    """
    lines: list[str] = []
    for piece in chain.from_iterable(_parts(each, width) for each in pieces):
        longer = f"{lines[-1]}{_BETWEEN}{piece}" if lines else ""
        if longer and cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_INDENT + piece)
    return lines[:_MOST_LINES]


def _parts(piece: str, width: int) -> list[str]:
    about, colon, rest = piece.partition(": ")
    if not colon or cell_len(_INDENT + piece) <= width:
        return [piece]
    return [about + ":", rest]
