"""Pictures for people who would rather look than read; as Markdown that Dagster's UI shows."""

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

_COLOURS = {"consistent": "#3a9d5d", "remaining": "#8a8f98"}
_BEFORE = 30 * 86_400
_TROUBLE = "#d9822b"


def reconciliation_chart(counts: Mapping[str, int], covered: Sequence[int]) -> str:
    """Wallets by finding, and until when how many wallets are covered (epoch seconds each)."""
    # Importing it takes half a second, which every command would pay.
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(9, 3.2), dpi=100, layout="constrained")
    findings, coverage = figure.subplots(1, 2)
    names = list(counts)[::-1]
    bars = findings.barh(
        names,
        [counts[name] for name in names],
        color=[_COLOURS.get(name, _TROUBLE) for name in names],
    )
    findings.bar_label(bars, labels=[f"{counts[name]:,}" for name in names], padding=3)
    findings.set_xscale("symlog", linthresh=1)
    findings.margins(x=0.25)
    findings.set_title("wallets by finding")
    days = sorted(covered)
    if days:
        days.insert(0, days[0] - _BEFORE)
    # A wallet counts on every day that it is covered; so the curve falls as coverage ends.
    coverage.step(
        [date2num(datetime.fromtimestamp(day, UTC)) for day in days],
        [len(covered), *range(len(covered), 0, -1)][: len(days)],
        where="pre",
        color=_COLOURS["consistent"],
    )
    locator = AutoDateLocator()
    coverage.xaxis.set_major_locator(locator)
    coverage.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    coverage.set_ylim(bottom=0)
    coverage.set_title("wallets covered, by day")
    image = io.BytesIO()
    figure.savefig(image, format="png")
    data = base64.b64encode(image.getvalue()).decode()
    return f"![wallets by finding](data:image/png;base64,{data})"
