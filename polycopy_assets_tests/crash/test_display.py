"""What a person sees while a command runs: in terminals of any width, dumb ones, and pipes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from polycopy_assets_tests.terminal import python_in_terminal

PHASES = """
import os, sys, time
from pathlib import Path
from polycopy_assets.cli import display
from polycopy_assets.fetch.progress import Progress

display.LINE_EVERY_SECONDS = 0.1
progress, folder = Progress(), Path(sys.argv[1])

def until(name):
    while not (folder / name).exists():
        progress.request()
        time.sleep(0.02)

with display.shown(progress, "backfill"):
    until("begin")
    progress.begin_fetch(3000)
    for number in range(1204):
        progress.begin_wallet(f"0x{number}")
        progress.end_wallet(f"0x{number}")
    progress.done, progress.failed, progress.trades = 1202, 2, 1_234_567
    progress.beside.part("loading batch 7", 1, 1)
    until("whale")
    progress.begun, progress.done = 3000, 2997
    progress.running["0xabcd" + "0" * 36] = 412_000
    until("combine")
    progress.step.part("combining 3 of 12", 3, 12)
    until("end")
"""


class Shown:
    """The progress in a terminal, led through its phases by files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = ("-c", PHASES, str(folder))
        self.environ = {**os.environ, "TERM": "xterm"}
        # pytest-xdist tells its workers the size of the terminal it runs in.
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            self.environ.pop(name, None)

    def go(self, phase: str) -> None:
        (self.folder / phase).touch()


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return Shown(tmp_path)


@pytest.mark.parametrize("columns", [120, 70, 40])
def test_every_phase_is_readable(shown: Shown, columns: int):
    command = python_in_terminal(shown.command, shown.environ, shown.folder, columns)
    with command as terminal:
        terminal.until(lambda: "preparing" in terminal.screen[0])
        shown.go("begin")
        terminal.until(lambda: "requests/s" in "".join(terminal.screen))
        terminal.until(lambda: "at least" in "".join(terminal.screen))
        screen = terminal.screen
        assert screen[0].startswith("backfill "), screen
        assert "1,204/3,000 wallets · " in screen[0]
        assert ("━" in screen[0]) == (columns >= 60)
        said = " · ".join(line.strip() for line in screen[1:])
        assert re.search(
            r"^1,234,567 trades · 2 failed · [\d.]+ requests/s · 0 trades/s"
            r" · at least .* left · loading batch 7$",
            said,
        ), screen
        assert all(len(line) < columns for line in screen), "nothing is wrapped or cut off"
        assert "…" not in "".join(screen)
        shown.go("whale")
        terminal.until(lambda: "still fetching" in "".join(terminal.screen))
        assert "2,999/3,000" in terminal.screen[0]
        assert "still fetching 1 large wallet:" in "".join(terminal.screen)
        assert "0xabcd… 412,000 trades" in "".join(terminal.screen)
        assert " left" not in "".join(terminal.screen)
        shown.go("combine")
        terminal.until(lambda: "combining 3 of 12" in terminal.screen[0])
        assert "requests/s" not in "".join(terminal.screen), "an ended fetch has no rate"
        shown.go("end")
        assert terminal.end() == 0
        assert len(terminal.screen) == 1, terminal.screen


def test_a_window_that_changes_its_size(shown: Shown):
    with python_in_terminal(shown.command, shown.environ, shown.folder, 120) as terminal:
        shown.go("begin")
        terminal.until(lambda: "1,204/3,000" in terminal.screen[0])
        terminal.resize(40)
        before = len(terminal.shown)
        terminal.until(lambda: "backfill 1,204/3,000" in terminal.shown[before:])
        shown.go("whale")
        shown.go("combine")
        terminal.resize(100)
        shown.go("end")
        assert terminal.end() == 0
        assert "combining 3 of 12" in terminal.shown


def test_colours_are_for_those_who_want_them(shown: Shown):
    for name in ("begin", "whale", "combine", "end"):
        shown.go(name)
    seen = {}
    for name, chosen in {"colours": {}, "none": {"NO_COLOR": "1"}}.items():
        environ = {**shown.environ, **chosen}
        with python_in_terminal(shown.command, environ, shown.folder) as terminal:
            assert terminal.end() == 0
            seen[name] = terminal.shown
    colour = re.compile(r"\x1b\[(3[0-79]|9[0-7]|38;[0-9;]+)m")
    assert colour.search(seen["colours"])
    assert not colour.search(seen["none"])


@pytest.mark.parametrize("kind", ["pipe", "dumb"])
def test_lines_where_nothing_can_be_drawn(shown: Shown, kind: str):
    if kind == "dumb":
        environ = {**shown.environ, "TERM": "dumb"}
        with python_in_terminal(shown.command, environ, shown.folder, 80) as terminal:
            shown.go("begin")
            terminal.until(lambda: "requests/s" in terminal.shown)
            for name in ("whale", "combine"):
                shown.go(name)
            terminal.until(lambda: "combining 3 of 12" in terminal.shown)
            shown.go("end")
            assert terminal.end() == 0
            told = terminal.shown
    else:
        process = subprocess.Popen(
            [sys.executable, *shown.command],
            env=shown.environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        shown.go("begin")
        told = process.stderr.readline()
        for name in ("whale", "combine", "end"):
            shown.go(name)
        told += process.stderr.read()
        assert process.wait(30) == 0
    assert "\x1b" not in told
    assert re.search(r"1,204/3,000 wallets, 1,234,567 trades, 2 failed, .* so far", told)
