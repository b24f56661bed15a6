"""Charts for people, as Markdown that Dagster's UI shows."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.progress import Sample
from polycopy_assets.ledger.kinds import FindingKind
from polycopy_assets.text import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GOOD, _QUIET, _TROUBLE = "#3a9d5d", "#8a8f98", "#d9822b"
_COLOURS = {FindingKind.CONSISTENT: _GOOD, FindingKind.REMAINING: _QUIET}
_BEFORE = 30 * 86_400

NO_CHART = "No chart: matplotlib is not installed. `pip install 'polycopy-assets[charts]'`"

CHARTED_WALLETS = 10
"""With fewer wallets, numbers are easier to read than a chart."""


def reconciliation_chart(counts: Mapping[FindingKind, int], covered: Sequence[int]) -> str:
    """Two charts: wallets by finding, and covered wallets by day (`covered`: epoch seconds)."""

    def findings(axes: "Axes") -> None:
        kinds = list(counts)[::-1]
        bars = axes.barh(
            [kind.value for kind in kinds],
            [counts[kind] for kind in kinds],
            color=[_COLOURS.get(kind, _TROUBLE) for kind in kinds],
        )
        axes.bar_label(bars, labels=[f"{counts[kind]:,}" for kind in kinds], padding=3)
        axes.set_xscale("symlog", linthresh=1)
        axes.margins(x=0.25)
        axes.set_title("wallets by finding")

    def coverage(axes: "Axes") -> None:
        days = sorted(covered)
        if days:
            days.insert(0, days[0] - _BEFORE)
        # A wallet counts on every day until its coverage ends, so the curve falls.
        axes.step(
            _dates(axes, [datetime.fromtimestamp(day, UTC) for day in days]),
            [len(covered), *range(len(covered), 0, -1)][: len(days)],
            where="pre",
            color=_GOOD,
        )
        axes.set_ylim(bottom=0)
        axes.set_title("wallets covered, by day")

    return _markdown("wallets by finding", findings, coverage)


def progress_chart(
    samples: Sequence[Sample], total: int, left: str = "", rows: str = "trades"
) -> str:
    """How many of `total` wallets are done over time, and what is `left`, in words.

    And how many of the `rows`, as people call them, were served.
    """

    def ended(axes: "Axes") -> None:
        minutes = [sample.seconds / 60 for sample in samples]
        axes.plot(minutes, [sample.ended for sample in samples], color=_GOOD)
        done = f"{samples[-1].ended if samples else 0:,} of {counted(total, 'wallet')}"
        axes.set_title(", ".join(filter(None, [done, left])))
        axes.set_ylim(0, max(total, 1) * 1.05)
        axes.set_xlim(left=0)
        axes.set_xlabel("minutes")

    def served(axes: "Axes") -> None:
        axes.plot([s.seconds / 60 for s in samples], [s.trades for s in samples], color=_GOOD)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("minutes")
        axes.set_title(f"{rows} served")

    return _markdown("progress of the fetch", ended, served)


def rows_chart(feed: Feed, months: Mapping[date, int], sizes: Sequence[int]) -> str:
    """Rows of a feed by month, and how many wallets have how many."""

    def by_month(axes: "Axes") -> None:
        known = sorted(months)
        moments = [datetime(day.year, day.month, 15, tzinfo=UTC) for day in known]
        axes.bar(_dates(axes, moments), [months[day] for day in known], width=25, color=_GOOD)
        axes.set_title(f"{feed.rows} by month")

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
        axes.set_title(f"wallets by number of {feed.rows}")

    return _markdown(f"{feed.rows} by month, wallets by size", by_month, by_size)


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
    """The plots side by side, as a PNG inside Markdown; a line that says what is missing for it."""
    try:
        # Imported here because it takes half a second, which would slow down every command.
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        return NO_CHART
    figure = Figure(figsize=(9, 3.2), dpi=100)
    # Computing the layout would take longer than drawing the picture.
    figure.subplots_adjust(left=0.13, right=0.98, bottom=0.16, top=0.9, wspace=0.35)
    for number, plot in enumerate(plots, 1):
        axes = figure.add_subplot(1, len(plots), number)
        axes.tick_params(labelsize=8)
        plot(axes)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return f"![{title}](data:image/png;base64,{base64.b64encode(image.getvalue()).decode()})"
