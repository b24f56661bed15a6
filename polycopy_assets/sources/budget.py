"""The request budget: exact sliding windows, whatever the network does in between.

The server sees a request some time between its start and its end. So a request occupies its
place from its start until one window after its end; then no window at the server, wherever it
lies, holds more than allowed. A token bucket cannot promise that.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple


class Window(NamedTuple):
    """At most `requests` requests in any `seconds` seconds."""

    requests: int
    seconds: float


class Budget:
    """Lets requests through, first come first served, as all windows allow.

    `permit` is called before each request, and raises Stopped if no more requests may be sent.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        permit: Callable[[], None] = lambda: None,
    ) -> None:
        self._windows = tuple(windows)
        self._ended: list[deque[float]] = [deque() for _ in windows]
        self._under_way = 0
        self._not_before = 0.0
        self._clock = clock
        self._sleep = sleep
        self._permit = permit
        self._lock = asyncio.Lock()
        self._one_ended = asyncio.Event()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits for a place, and holds it while one request is under way."""
        async with self._lock:
            while (wait := self._wait()) > 0:
                await self._pause(wait)
            self._permit()
            self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            for ended in self._ended:
                ended.append(self._clock())
            self._one_ended.set()

    def hold(self, seconds: float) -> None:
        """Lets nothing through for `seconds`, because the source asked us to wait."""
        self._not_before = max(self._not_before, self._clock() + seconds)

    def _wait(self) -> float:
        """Seconds until the next request may start; infinite if one under way must end first."""
        now = self._clock()
        wait = self._not_before - now
        for window, ended in zip(self._windows, self._ended, strict=True):
            # The same sum as for the wait below: with different rounding, one too many would get
            # through.
            while ended and ended[0] + window.seconds <= now:
                ended.popleft()
            if self._under_way + len(ended) >= window.requests:
                wait = max(wait, ended[0] + window.seconds - now if ended else float("inf"))
        return wait

    async def _pause(self, wait: float) -> None:
        if wait == float("inf"):
            self._one_ended.clear()
            await self._one_ended.wait()
        else:
            await self._sleep(wait)
