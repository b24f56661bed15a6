"""Pictures for people who would rather look than read; as Markdown that Dagster's UI shows."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from polycopy_assets.progress import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GOOD, _QUIET, _TROUBLE = "#3a9d5d", "#8a8f98", "#d9822b"
_COLOURS = {"consistent": _GOOD, "remaining": _QUIET}
_BEFORE = 30 * 86_400
_RECENT = 0.2

CHARTED_WALLETS = 10
"""Fewer wallets are read faster than looked at."""


def reconciliation_chart(counts: Mapping[str, int], covered: Sequence[int]) -> str:
    """Wallets by finding, and until when how many wallets are covered (epoch seconds each)."""

    def findings(axes: "Axes") -> None:
        names = list(counts)[::-1]
        bars = axes.barh(
            names,
            [counts[name] for name in names],
            color=[_COLOURS.get(name, _TROUBLE) for name in names],
        )
        axes.bar_label(bars, labels=[f"{counts[name]:,}" for name in names], padding=3)
        axes.set_xscale("symlog", linthresh=1)
        axes.margins(x=0.25)
        axes.set_title("wallets by finding")

    def coverage(axes: "Axes") -> None:
        days = sorted(covered)
        if days:
            days.insert(0, days[0] - _BEFORE)
        # A wallet counts on every day that it is covered; so the curve falls as coverage ends.
        axes.step(
            _dates(axes, [datetime.fromtimestamp(day, UTC) for day in days]),
            [len(covered), *range(len(covered), 0, -1)][: len(days)],
            where="pre",
            color=_GOOD,
        )
        axes.set_ylim(bottom=0)
        axes.set_title("wallets covered, by day")

    return _markdown("wallets by finding", findings, coverage)


def progress_chart(samples: Sequence[Sample], total: int) -> str:
    """How many of `total` wallets have ended over time, and how the rest goes on at that rate."""

    def ended(axes: "Axes") -> None:
        minutes = [sample.seconds / 60 for sample in samples]
        axes.plot(minutes, [sample.ended for sample in samples], color=_GOOD)
        left = seconds_left(samples, total)
        if left:
            now = samples[-1]
            end = now.seconds + left
            axes.plot(
                [now.seconds / 60, end / 60], [now.ended, total], color=_QUIET, linestyle="--"
            )
            axes.set_title(f"{now.ended:,} of {total:,} wallets, about {left / 60:,.0f} min left")
        else:
            axes.set_title(f"{samples[-1].ended if samples else 0:,} of {total:,} wallets")
        axes.set_ylim(0, max(total, 1) * 1.05)
        axes.set_xlim(left=0)
        axes.set_xlabel("minutes")

    def trades(axes: "Axes") -> None:
        axes.plot([s.seconds / 60 for s in samples], [s.trades for s in samples], color=_GOOD)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("minutes")
        axes.set_title("trades served")

    return _markdown("progress of the fetch", ended, trades)


def seconds_left(samples: Sequence[Sample], total: int) -> float | None:
    """Until all wallets have ended, at the rate of the latest fifth; None if nobody can tell."""
    if len(samples) < 2 or samples[-1].ended >= total:  # noqa: PLR2004 - a rate needs two points
        return None
    now = samples[-1]
    since = next(
        (s for s in reversed(samples) if s.seconds <= now.seconds * (1 - _RECENT)), samples[0]
    )
    gained = now.ended - since.ended
    return (total - now.ended) * (now.seconds - since.seconds) / gained if gained else None


def trades_chart(months: Mapping[date, int], sizes: Sequence[int]) -> str:
    """Trades by month, and how many wallets have how many trades."""

    def by_month(axes: "Axes") -> None:
        known = sorted(months)
        moments = [datetime(day.year, day.month, 15, tzinfo=UTC) for day in known]
        axes.bar(_dates(axes, moments), [months[day] for day in known], width=25, color=_GOOD)
        axes.set_title("trades by month")

    def by_size(axes: "Axes") -> None:
        most = max(sizes, default=0)
        classes = [0, *(10**n for n in range(math.ceil(math.log10(most + 1)) + 1))]
        names, counts = [], []
        for low, high in pairwise(classes):
            names.append(f"from {low:,}" if low else "none")
            counts.append(sum(low <= size < high for size in sizes))
        bars = axes.barh(names, counts, color=_GOOD)
        axes.bar_label(bars, labels=[f"{n:,}" for n in counts], padding=3)
        axes.margins(x=0.2)
        axes.set_title("wallets by number of trades")

    return _markdown("trades by month, wallets by size", by_month, by_size)


def _dates(axes: "Axes", moments: Sequence[datetime]) -> list[Any]:
    from matplotlib.dates import (  # noqa: PLC0415 - see _markdown
        AutoDateLocator,
        ConciseDateFormatter,
        date2num,
    )

    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return [date2num(moment) for moment in moments]


def _markdown(title: str, *plots: Callable[["Axes"], None]) -> str:
    """The plots side by side, as a PNG inside Markdown."""
    # Importing it takes half a second, which every command would pay.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 3.2), dpi=100)
    # A layout that is worked out takes longer than all the rest of the picture.
    figure.subplots_adjust(left=0.13, right=0.98, bottom=0.16, top=0.9, wspace=0.35)
    for number, plot in enumerate(plots, 1):
        axes = figure.add_subplot(1, len(plots), number)
        axes.tick_params(labelsize=8)
        plot(axes)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return f"![{title}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})"
