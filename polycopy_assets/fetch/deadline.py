"""When a fetch has to end: after a time that was given, or because the process is told to stop.

A fetch that runs out of time keeps what it was served. It sends no more requests; answers that are
under way may still arrive; each walk then makes the whole seconds that it has durable, as after an
outage. So the next fetch continues where this one was.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from polycopy_assets.errors import OutOfTime
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Page, PageSource

T = TypeVar("T")

ANSWER_SECONDS, ANSWER_SECONDS_TOLD = 10.0, 1.0
"""How long answers that are under way may still take: when the time is up, and when told to stop.
Cloud Run kills a task ten seconds after it told it to stop."""

STORE_SECONDS, STORE_SECONDS_TOLD = 60.0, 4.0
"""How long, from the same moment, until the last segments have to be durable."""

POLL_SECONDS = 0.2
_NEVER = float("inf")


class Deadline:
    """The end of a fetch: `seconds` after now, or when `tell` is called, whichever is first.

    The default has no end. It may be read and told from any thread, and told by a signal handler.
    """

    def __init__(
        self, seconds: float = _NEVER, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._at = clock() + seconds
        self._told_at = _NEVER
        self._heard: Callable[[], bool] = lambda: False

    def listen(self, heard: Callable[[], bool]) -> None:
        """Also asks `heard` whether the process was told to stop; replaces what it asked before."""
        self._heard = heard

    def tell(self) -> None:
        """The process was told to stop: seconds count from now on."""
        self._told_at = min(self._told_at, self._clock())

    @property
    def told(self) -> bool:
        """Whether the process was told to stop."""
        if self._told_at == _NEVER and self._heard():
            self.tell()
        return self._told_at != _NEVER

    @property
    def limited(self) -> bool:
        """Whether there is an end at all."""
        return self.told or self._at != _NEVER

    @property
    def reached(self) -> bool:
        """Whether no more requests may be sent."""
        return self.told or self._clock() >= self._at

    @property
    def cut(self) -> bool:
        """Whether answers that are still under way are given up."""
        return self._since(ANSWER_SECONDS, ANSWER_SECONDS_TOLD)

    @property
    def abandoned(self) -> bool:
        """Whether the fetch is given up with whatever it has under way."""
        return self._since(STORE_SECONDS, STORE_SECONDS_TOLD)

    @contextmanager
    def earlier(self, parts: int) -> Iterator[None]:
        """Within it the end is earlier: only one of so many equal parts of the time is left."""
        end, now = self._at, self._clock()
        self._at = now + max(end - now, 0) / parts
        try:
            yield
        finally:
            self._at = end

    def check(self) -> None:
        """Raises OutOfTime if no more requests may be sent."""
        if self.reached:
            raise OutOfTime("the process was told to stop" if self.told else "the time is up")

    def _since(self, seconds: float, told: float) -> bool:
        now = self._clock()
        return now >= self._at + seconds or (self.told and now >= self._told_at + told)


class Timed:
    """A source whose answers do not come after the deadline: then it raises OutOfTime.

    Only the wait for an answer is ended, so each walk still makes durable what it has.
    """

    def __init__(self, source: PageSource, deadline: Deadline) -> None:
        self.name = source.name
        self._source = source
        self._deadline = deadline

    async def page(self, wallet: str, span: Interval, cursor: str | None) -> Page:
        """The next page of `wallet` within `span`; raises SourceError."""
        return await self._in_time(self._source.page(wallet, span, cursor))

    async def horizon(self) -> Horizon:
        """The time until which the answers are complete now; raises SourceError."""
        return await self._in_time(self._source.horizon())

    async def _in_time(self, answer: Coroutine[Any, Any, T]) -> T:
        if not self._deadline.limited:
            return await answer
        try:
            self._deadline.check()
        except OutOfTime:
            answer.close()
            raise
        task = asyncio.ensure_future(answer)
        try:
            while not task.done() and not self._deadline.cut:
                await asyncio.wait({task}, timeout=POLL_SECONDS)
            if task.done():
                return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        raise OutOfTime("the answer came too late")
