"""What a bench says: figures with their baselines, and the table of them.

A ratio is always ours ÷ baseline: below 1 is better for times, memory and sizes, above 1 for rates.
"""

import os
import platform
import sqlite3
import statistics
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

PACKAGES = ("duckdb", "polars", "dagster", "httpx")
HEAD = ("bench", "what", "ours", "spread", "baseline", "", "ratio", "goal", "")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table.

    `samples` are ours, in `unit`; `baseline` names what `against` measured, in the same run. `goal`
    is such as `<= 0.5`; it is for the ratio if there is a baseline, otherwise for the median. With
    `goal_of` "value" it is for the median in any case. `note` says what a reader must know. A
    figure without samples was not measured, and its note says why.
    """

    what: str
    unit: str = ""
    samples: Sequence[float] = ()
    baseline: str = ""
    against: Sequence[float] = ()
    goal: str = ""
    goal_of: str = ""
    note: str = ""
    bench: str = ""

    @property
    def value(self) -> float:
        """The median of ours."""
        return statistics.median(self.samples)

    @property
    def ratio(self) -> float | None:
        """The median of ours ÷ that of the baseline; None without a baseline."""
        base = statistics.median(self.against) if self.against else 0.0
        return self.value / base if base else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None if there is none, or nothing was measured."""
        if not self.goal or not self.samples:
            return None
        measured = self.value if self.goal_of == "value" or not self.against else self.ratio
        if measured is None:
            return None
        sign, bound = self.goal.split()
        return measured <= float(bound) if sign == "<=" else measured >= float(bound)

    @property
    def verdict(self) -> str:
        """Whether the goal is met, in a word; empty without one."""
        return {None: "", True: "met", False: "MISSED"}[self.met]

    def cells(self) -> list[str]:
        """The figure as the cells of its line."""
        if not self.samples:
            return [self.bench, self.what, "not measured", *[""] * 6]
        base = statistics.median(self.against) if self.against else None
        return [
            self.bench,
            self.what,
            f"{_short(self.value)} {self.unit}".strip(),
            _spread(self.samples),
            "" if base is None else f"{_short(base)} {self.unit}".strip(),
            self.baseline,
            "" if self.ratio is None else f"{self.ratio:.2f}",
            f"{self.goal}{' (value)' if self.goal_of == 'value' and self.against else ''}",
            self.verdict,
        ]


class Report(msgspec.Struct, kw_only=True):
    """What a run of benches leaves: the machine, and all figures."""

    machine: str
    size: str
    figures: list[Figure] = []


def table(figures: Iterable[Figure], *, judged: bool) -> str:
    """The figures as a Markdown table, with their notes below it.

    Unless `judged`, it does not say whether a goal is met: goals are for the full size.
    """
    listed = list(figures)
    rows = [[*figure.cells()[:-1], figure.verdict if judged else ""] for figure in listed]
    widths = [max(len(row[n]) for row in [HEAD, *rows]) for n in range(len(HEAD))]
    rule = ["-" * width for width in widths]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [HEAD, rule, *rows]
    ]
    notes = [f"- {each.bench}, {each.what}: {each.note}" for each in listed if each.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def machine() -> str:
    """The machine and the versions, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ", ".join(
        [
            f"{platform.system()} {platform.machine()}",
            f"{cores} cores ({_processor()})",
            f"{_memory() / 2**30:.0f} GB",
            f"Python {platform.python_version()}",
            *(f"{name} {version(name)}" for name in PACKAGES),
            f"SQLite {sqlite3.sqlite_version}",
            f"load {os.getloadavg()[0]:.1f} at the start",
        ]
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else "unknown processor"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _spread(samples: Sequence[float]) -> str:
    if len(samples) == 1:
        return "one run"
    return f"{_short(min(samples))} to {_short(max(samples))} of {len(samples)}"


def _short(value: float) -> str:
    """Three digits that count."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
