"""Tokens and markets of many conditions: requests, seconds and memory, first and again.

Prints both beside what the budgets alone would take, and beside asking for one condition a request.
The sample API refuses what exceeds a budget: the last column says how often it had to.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.limits import Limits
from polycopy_assets.demo.server import Served
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.working import Permit
from polycopy_assets.pipeline import new_conditions
from polycopy_assets.pipeline.dimensions import DimensionPorts, Kept, keep_dimensions
from polycopy_assets.pipeline.new_conditions import Loaded
from polycopy_assets.resources.chosen import source_resource
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.system.step import Step
from polycopy_assets_tests.deployment import Deployment, sample_api

ROUTES = 4
"""Requests for a condition that is asked for alone: tokens, resolution, markets open and closed."""


class Measured(NamedTuple):
    """One run: what it did, its seconds, and how many requests exceeded a budget."""

    kept: Kept
    seconds: float
    refused: int


def measure(conditions: set[str], deployment: Deployment, served: Served) -> Measured:
    """Asks for what is not final of `conditions`."""

    def found(store: FeedStore, batches: Container[int]) -> Iterator[tuple[int, set[str]]]:
        del store
        if 1 in batches:
            yield 1, conditions

    new_conditions.conditions_in = found
    permit = Permit(lambda: None, float("inf"))
    ports = DimensionPorts(
        store=deployment.store.whole,
        loaded=[Loaded(deployment.store, frozenset({1}), lambda: conditions)],
        tables=deployment.warehouse.dimensions,
        open_source=source_resource(deployment.settings).dimensions(Progress(), permit),
        check=lambda: None,
        step=Step(),
    )
    started = time.monotonic()
    kept = keep_dimensions(ports)
    return Measured(kept, time.monotonic() - started, served.state.limits.refused.total())


def main(number: int, rate: int) -> None:
    """Two runs over `number` conditions, with `rate` requests in ten seconds for each route."""
    world = generate(61, 1, ledgers=True, markets=number)
    conditions = {condition.lower() for condition in world.markets}
    with tempfile.TemporaryDirectory() as root, sample_api(world) as served:
        deployment = Deployment(
            Path(root),
            served.url,
            POLYCOPY_RATE_LIMIT=f"{2 * rate}/10",
            POLYCOPY_ROUTE_LIMITS="",
        )
        print(f"{len(conditions):,} conditions, {2 * rate} requests in 10 s")
        print(f"{'':28} {'asked':>8} {'requests':>9} {'seconds':>8} {'by budget':>10} refused")
        for name in ("first run", "second run"):
            # Each run of its own has the whole budget: its lock waits for that, and none is here.
            served.state.limits = Limits({"": (2 * rate, 10.0)})
            one = measure(conditions, deployment, served)
            least = one.kept.requests / (2 * rate) * 10
            print(
                f"{name:28} {one.kept.asked:8,} {one.kept.requests:9,} {one.seconds:8.1f}"
                f" {least:10.1f} {one.refused:7}",
                flush=True,
            )
        alone = ROUTES * len(conditions)
        print(
            f"{'one condition a request':28} {len(conditions):8,} {alone:9,} {'':8}"
            f" {alone / (2 * rate) * 10:10.1f}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory of this process, with the sample API in it: {peak:.0f} MB")


if __name__ == "__main__":
    main(*(int(text) for text in (sys.argv[1:] or ["50000", "100"])))
