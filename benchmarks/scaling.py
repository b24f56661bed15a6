"""How a deployment with very many wallets behaves, with its record in Postgres.

    python -m benchmarks.scaling [--size full|quick|smoke]

The source is the page server, so every step is the real one: the commands as processes, Dagster's
webserver and daemon as `dagster dev` starts them, its pages in headless Chromium. Each figure
stands beside the same with a tenth of the wallets, but for the size `smoke`, which judges nothing.
Postgres waits for its disk, as it does in production. Wallets are tiny: what is measured here grows
with their number, not with their trades.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Page, Request

from benchmarks.bench import bench
from benchmarks.deployment import UNLIMITED, Deployment, must, report
from benchmarks.figures import Figure
from benchmarks.processes import Ended, resident
from benchmarks.server import PageServer, serving
from benchmarks.tiny import tiny_world
from polycopy_assets.record import overview
from polycopy_assets_tests.browser.pages import Pages, browser
from polycopy_assets_tests.deployment import Deployment as OfTests
from polycopy_assets_tests.dev import Ui, dagster_dev
from polycopy_assets_tests.fakes.postgres import new_database, postgres
from polycopy_assets_tests.instances import execute
from polycopy_assets_tests.of_trades import record_in

TICK = """
mutation ($selector: SensorSelector!) {
  sensorDryRun(selectorData: $selector, cursor: "") {
    __typename
    ... on DryRunInstigationTick {
      evaluationResult { skipReason runRequests { runConfigYaml } error { message } }
    }
    ... on PythonError { message }
  }
}
"""
_LOCATION = {
    "repositoryLocationName": "polycopy_assets.definitions",
    "repositoryName": "__repository__",
}

Samples = Mapping[tuple[str, str], list[float]]
"""What was measured, by what it is and its unit."""


class Size(NamedTuple):
    """Wallets, and those of the baseline; 0: there is none."""

    wallets: int
    baseline: int


SIZES = {"full": Size(100_000, 10_000), "quick": Size(5_000, 500), "smoke": Size(6, 0)}


class Scaled:
    """One deployment, and what was measured of it so far."""

    def __init__(self, deployment: Deployment, database: str, wallets: int) -> None:
        self._deployment = deployment
        self._database = database
        self._wallets = wallets
        self.samples: dict[tuple[str, str], list[float]] = defaultdict(list)

    def note(self, what: str, unit: str, value: float) -> None:
        """Keeps one figure, and prints it: the whole takes long."""
        self.samples[what, unit].append(value)
        print(f"  {self._wallets:,} wallets, {what}: {value:,.2f} {unit}", flush=True)

    def command(self, what: str, *arguments: str, grows: bool = False) -> Ended:
        """Runs a command: its seconds, its memory and, if asked for, what the database grew by."""
        before = self.database_bytes()
        ended = self._deployment.polycopy(*arguments).checked()
        self.note(what, "s", ended.seconds)
        self.note(f"{what}: memory", "MB", ended.peak)
        if grows:
            grown = self.database_bytes() - before
            self.note(f"{what}: the database grows by", "MB", grown / 1e6)
        return ended

    def database_bytes(self) -> int:
        """The size of the database, with indexes and rows that were deleted and not yet reused."""
        ((size,),) = execute(self._database, "SELECT pg_database_size(current_database())")
        return int(str(size))

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Notes how long the context lasts."""
        started = time.perf_counter()
        yield
        self.note(what, "s", time.perf_counter() - started)


def live(scaled: Scaled, deployment: Deployment, server: PageServer) -> None:
    """From the list of wallets to a day of refreshes, and the pages in between."""
    listed = deployment.root / "wallets.txt"
    listed.write_text("\n".join(server.wallets))
    scaled.command("wallets add", "wallets", "add", "--file", str(listed))
    ended = scaled.command("first backfill", "backfill", "--json", grows=True)
    must(report(ended)["complete"] == len(server.wallets), "every wallet is complete")
    must(deployment.rows() == server.trades, "every trade is in the table, once")
    server.reset()
    scaled.command("backfill, nothing to do", "backfill", "--json")
    scaled.command("status", "status")
    scaled.command("wallets list", "wallets", "list")
    scaled.command("reconcile", "reconcile")
    must(server.counts().requests == 0, "nothing was requested")
    started = time.time()
    ended = scaled.command("a day's refresh without news", "backfill", "--refresh", grows=True)
    counts = server.counts()
    must(counts.requests >= len(server.wallets), "every wallet was asked for")
    must(counts.rows == 0, "there was no news")
    scaled.note("planning: from the start to the first page", "s", counts.first_page - started)
    scaled.command("maintain", "maintain", "--dry-run")


def look(scaled: Scaled, deployment: Deployment, wallets: int, work: Path) -> None:
    """The pages and the sensor's tick, by a webserver with a daemon."""
    served = OfTests(deployment.root, "", **deployment.environ)
    with served.instance() as instance, scaled.timed("numbers of the overview"):
        overview.write(record_in(instance))
    with dagster_dev(served) as ui:
        scaled.note(
            "dagster dev, all processes, before the first page: memory", "MB", resident(ui.leader)
        )
        with browser(ui.url, work) as pages:
            _open_pages(scaled, pages, wallets)
        with scaled.timed("tick of the sensor new_wallets"):
            _tick(ui)
        scaled.note("dagster dev, all processes, after them: memory", "MB", resident(ui.leader))


def _open_pages(scaled: Scaled, pages: Pages, wallets: int) -> None:
    received = _Received(pages.page)
    with scaled.timed("partition page"):
        found = pages.partitions()
    must(found["Materialized"] == wallets, f"{found}: every wallet is materialized")
    scaled.note("partition page: received", "MB", received.so_far())
    with scaled.timed("asset page"):
        pages.overview()
    scaled.note("asset page: received", "MB", received.so_far())


class _Received:
    """What a page received from Dagster's interface, as it came through the network."""

    def __init__(self, page: Page) -> None:
        self._requests: list[Request] = []
        page.on("requestfinished", self._keep)

    def _keep(self, request: Request) -> None:
        self._requests.append(request)

    def so_far(self) -> float:
        """Megabytes since the last call."""
        asked = [each for each in self._requests if "/graphql" in each.url]
        self._requests.clear()
        return sum(each.sizes()["responseBodySize"] for each in asked) / 1e6


def _tick(ui: Ui) -> None:
    ticked = ui.query(TICK, selector={**_LOCATION, "sensorName": "new_wallets"})["sensorDryRun"]
    must(ticked.get("evaluationResult") and not ticked["evaluationResult"]["error"], ticked)


def scale(wallets: int, work: Path) -> Samples:
    """Everything with so many wallets, on a server of Postgres of its own."""
    work.mkdir(parents=True)
    with postgres(durable=True) as server, serving(tiny_world(wallets)) as pages:
        database = new_database(server)
        deployment = Deployment(work, pages.url, rate_limit=UNLIMITED, POLYCOPY_INSTANCE=database)
        scaled = Scaled(deployment, database, wallets)
        live(scaled, deployment, pages)
        look(scaled, deployment, wallets, work)
        scaled.note("the database at the end", "MB", scaled.database_bytes() / 1e6)
    return scaled.samples


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """Each figure beside that of the baseline."""
    few = scale(size.baseline, work / "few") if size.baseline else {}
    for (what, unit), samples in scale(size.wallets, work / "many").items():
        yield Figure(
            what=f"{size.wallets:,} wallets, {what}",
            unit=unit,
            samples=samples,
            baseline=f"{size.baseline:,} wallets" if size.baseline else "",
            against=few.get((what, unit), ()),
        )


if __name__ == "__main__":
    bench("scaling", SIZES, measure)
