"""A year of daily refreshes of 200 wallets, half of them with news each day.

The clock is the feed's lag: it begins a year behind and loses a day before each refresh, so trades
appear in the feed day by day, and no clock has to be changed. The refreshes run in one process, as
`polycopy backfill --refresh` does it but for the start. Then a quarter of a year again, with
`polycopy maintain` after every seventh refresh. All runs of this year are of today: so that command
keeps nothing that it may delete, and its clock is ahead, or every run would be too recent.
"""

import statistics
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import msgspec

from benchmarks.bench import DAY, bench, until
from benchmarks.deployment import Deployment, clean_environ, must
from benchmarks.figures import Figure
from benchmarks.pages import World
from benchmarks.processes import ROOT, run
from benchmarks.server import PageServer, serving
from polycopy_assets.cli.backfill import backfill
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.record.instance import opened
from polycopy_assets.retention.old_runs import SETTLE_SECONDS

LIVED = "lived.json"
WEEKLY = "weekly"
WEEK = 7
_AHEAD = f"""
import time
from polycopy_assets.__main__ import main
from polycopy_assets.system import clock
clock.now = lambda: time.time() + {2 * SETTLE_SECONDS}
main()
"""
_UPKEEP = ("maintain", "--keep-days", "0")

AROUND = 5
"""So many refreshes are taken together, because one alone depends on chance."""


class Size(NamedTuple):
    """Wallets, days, and the day that the last one is compared with."""

    wallets: int
    days: int
    early: int


SIZES = {"full": Size(200, 365, 10), "quick": Size(20, 14, 7), "smoke": Size(4, 3, 2)}


class Day(msgspec.Struct, frozen=True):
    """After a refresh: its seconds, the bytes of Dagster's home, and the objects of the store."""

    seconds: float
    home: int
    objects: int


def live(url: str, root: Path, days: int, *, weekly: bool) -> None:
    """All refreshes, in this process; with `weekly` maintenance. Writes `LIVED` after each."""
    deployment, server = Deployment(root, url), PageServer(url)
    lived = []
    for day in range(days + 1):
        server.set_lag((days - day) * DAY)
        started = time.perf_counter()
        with opened(str(deployment.home)) as instance:
            _refresh(instance, deployment)
        seconds = time.perf_counter() - started
        if weekly and day % WEEK == WEEK - 1:
            _maintain(deployment)
        lived.append(Day(seconds, deployment.home_bytes(), deployment.objects()))
        (root / LIVED).write_bytes(msgspec.json.encode(lived[1:]))
        if day % 50 == 0:
            print(f"day {day}: {lived[-1]}", file=sys.stderr, flush=True)


def _refresh(instance: dg.DagsterInstance, deployment: Deployment) -> None:
    report = backfill(
        instance, deployment.settings, refresh=True, progress=Progress(), say=lambda text: None
    )
    must(not report.failures and not report.errors, f"a refresh has ended well: {report}")


def _maintain(deployment: Deployment) -> None:
    before = deployment.home_bytes()
    command = [sys.executable, "-c", _AHEAD, *_UPKEEP]
    run(command, environ=deployment.environ, cwd=deployment.root).checked()
    must(deployment.home_bytes() < before, "maintenance has made Dagster's home smaller")


def process(server: PageServer, root: Path, days: int, *, weekly: bool) -> None:
    """A year in a process of its own; the table must be complete at its end."""
    deployment = Deployment(root, server.url)
    deployment.want(server.wallets)
    run(
        [
            sys.executable,
            "-m",
            "benchmarks.year",
            "live",
            server.url,
            str(root),
            str(days),
            *([WEEKLY] if weekly else []),
        ],
        environ={**clean_environ(), **deployment.environ, "PYTHONPATH": str(ROOT)},
        cwd=root,
    ).checked()
    must(deployment.rows() == server.trades, "every trade of the year is in the table, once")


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """A year, and a year with maintenance."""
    world = World(kind="days", wallets=size.wallets, days=size.days, until=until() + DAY)
    with serving(world) as server:
        yield from _lived(server, work / "plain", size, weekly=False)
        quarter = size._replace(days=max(size.days // 4, size.early + 1))
        yield from _lived(server, work / "maintained", quarter, weekly=True)


def _lived(server: PageServer, root: Path, size: Size, *, weekly: bool) -> Iterator[Figure]:
    """The figures of a year, or of the part of it that there was before an interrupt."""
    how = ", weekly maintenance" if weekly else ""
    try:
        process(server, root, size.days, weekly=weekly)
    except KeyboardInterrupt:
        left = root / LIVED
        lived = msgspec.json.decode(left.read_bytes(), type=list[Day]) if left.exists() else []
        if len(lived) > size.early:
            short = size._replace(days=len(lived))
            yield from _figures(short, lived, f"{how}, interrupted after these")
        raise
    yield from _figures(size, msgspec.json.decode((root / LIVED).read_bytes(), type=list[Day]), how)


def _figures(size: Size, lived: list[Day], how: str) -> Iterator[Figure]:
    early = lived[max(size.early - AROUND, 0) : size.early]
    late = lived[-AROUND:]
    days = len(lived) - size.early
    yield Figure(
        what=f"the last of {size.days} refreshes of {size.wallets} wallets{how}",
        unit="s",
        samples=[day.seconds for day in late],
        baseline=f"refreshes up to the {size.early}th",
        against=[day.seconds for day in early],
        goal="<= 1.2",
    )
    yield Figure(what=f"Dagster's home at the end{how}", unit="MB", samples=[lived[-1].home / 1e6])
    yield Figure(
        what=f"the home grows, a refresh{how}",
        unit="kB",
        samples=[(lived[-1].home - lived[size.early - 1].home) / 1e3 / days],
        baseline=f"refreshes up to the {size.early}th",
        against=[_growth(lived[: size.early]) / 1e3],
        goal="<= 1.2",
    )
    yield Figure(what=f"objects of the store at the end{how}", samples=[lived[-1].objects])
    yield Figure(
        what=f"objects a wallet at the end{how}",
        samples=[lived[-1].objects / size.wallets],
        note="segments, coverage, batches and manifests together",
    )


def _growth(lived: list[Day]) -> float:
    """Bytes by which the home grows with a refresh, in the median."""
    steps = [after.home - before.home for before, after in pairwise(lived)]
    return statistics.median(steps) if steps else 0.0


if __name__ == "__main__":
    if sys.argv[1:2] == ["live"]:
        live(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), weekly=WEEKLY in sys.argv[5:])
    else:
        bench("year", SIZES, measure)
