"""The budget as the server sees it, on a clock of the test's own."""

import asyncio
import heapq
import itertools
import random

import pytest

from polycopy_assets.errors import LockLost
from polycopy_assets.sources.budget import Budget, Window


class Clock:
    """Time that passes only when everybody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + max(seconds, 0), next(self._order), future))
        await future

    async def run(self, *tasks: asyncio.Task[None]) -> None:
        while not all(task.done() for task in tasks):
            for _ in range(20):
                await asyncio.sleep(0)
            if self._sleepers:
                self.now, _, future = heapq.heappop(self._sleepers)
                if not future.done():
                    future.set_result(None)
        for task in tasks:
            task.result()


def arrivals(
    windows: list[Window], requests: int, slowest: float, seed: int
) -> tuple[list[tuple[float, float]], list[int]]:
    """(start, end) of every request, in order of start, and who they were."""
    rng = random.Random(seed)
    clock = Clock()
    spans: list[tuple[float, float]] = []
    order: list[int] = []

    async def one(budget: Budget, number: int) -> None:
        async with budget.slot():
            started = clock.now
            order.append(number)
            await clock.sleep(rng.uniform(0, slowest))
            spans.append((started, clock.now))

    async def main() -> None:
        budget = Budget(windows, clock=clock, sleep=clock.sleep)
        await clock.run(*(asyncio.create_task(one(budget, n)) for n in range(requests)))

    asyncio.run(main())
    return sorted(spans), order


def worst(times: list[float], seconds: float) -> int:
    times = sorted(times)
    return max(sum(1 for b in times if a <= b < a + seconds) for a in times)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slowest", [0.0, 0.3, 5.0])
def test_no_window_at_the_server_holds_more_than_allowed(seed: int, slowest: float):
    windows = [Window(5, 1.0), Window(12, 4.0)]
    spans, _ = arrivals(windows, 60, slowest, seed)
    rng = random.Random(seed)
    for arrive in (
        [start for start, _ in spans],
        [end for _, end in spans],
        [rng.uniform(*span) for span in spans],
        [rng.choice(span) for span in spans],
    ):
        for window in windows:
            assert worst(arrive, window.seconds) <= window.requests


def test_a_fast_source_is_used_to_the_full():
    spans, _ = arrivals([Window(5, 1.0)], 50, 0.001, 1)
    assert spans[-1][0] < 9.1


def test_first_come_is_first_served():
    _, order = arrivals([Window(3, 1.0)], 30, 0.5, 1)
    assert order == list(range(30))


def test_a_hold_stops_everybody():
    clock = Clock()
    started: list[float] = []

    async def one(budget: Budget) -> None:
        async with budget.slot():
            started.append(clock.now)

    async def main() -> None:
        budget = Budget([Window(100, 1.0)], clock=clock, sleep=clock.sleep)
        budget.hold(7.0)
        await clock.run(*(asyncio.create_task(one(budget)) for _ in range(3)))

    asyncio.run(main())
    assert started == [7.0, 7.0, 7.0]


def test_nothing_is_let_through_once_there_is_no_permit():
    """Asked before each request, after the wait for its place: a lock can be lost in between."""
    clock = Clock()
    started: list[float] = []
    refused: list[float] = []

    def permit() -> None:
        if clock.now >= 3.0:
            raise LockLost("another run has the lock")

    async def one(budget: Budget) -> None:
        try:
            async with budget.slot():
                started.append(clock.now)
        except LockLost:
            refused.append(clock.now)

    async def main() -> None:
        budget = Budget([Window(1, 1.0)], clock=clock, sleep=clock.sleep, permit=permit)
        await clock.run(*(asyncio.create_task(one(budget)) for _ in range(6)))

    asyncio.run(main())
    assert started == pytest.approx([0.0, 1.0, 2.0])
    assert refused == pytest.approx([3.0, 3.0, 3.0])


def test_a_refused_request_takes_no_place():
    clock = Clock()
    allowed = False
    started: list[float] = []

    def permit() -> None:
        if not allowed:
            raise LockLost("not yet")

    async def main() -> None:
        nonlocal allowed
        budget = Budget([Window(1, 60.0)], clock=clock, sleep=clock.sleep, permit=permit)
        with pytest.raises(LockLost):
            async with budget.slot():
                pytest.fail("it was let through")
        allowed = True
        async with budget.slot():
            started.append(clock.now)

    asyncio.run(main())
    assert started == [0.0]
