"""How many requests are under way at the same time: as many as are of use, and no more.

A slow source is asked as often at the same time as the settings allow. A source that answers at
once is not: its answers would only wait here to be read, and if the process is killed, every answer
that was not read and stored is requested again.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

FIRST = 2
"""Requests at the same time in the beginning."""

FEWEST = 2
"""So that one request is under way while the answer to another is read."""

IDLE = 0.25
BUSY = 0.12
"""If no answer was there to be read for more than the one share of the time, more requests are of
use; if for less than the other, fewer are enough."""

ROUND = 4
"""At least so many answers are read before that is decided."""


class Place:
    """The place of one request."""

    def __init__(self, flow: "Flow") -> None:
        self._flow = flow
        self.is_answered = False

    def answered(self) -> None:
        """The answer has begun to arrive."""
        if not self.is_answered:
            self.is_answered = True
            self._flow.arrived()


class Flow:
    """Lets at most `most` requests through at the same time, and fewer if their answers wait.

    It compares how long there were answers to read with how long there were none. The length of the
    queue says nothing: the answers of a slow source may all arrive at the same time.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self.at_once = min(FIRST, most)
        """How many requests at the same time are of use now."""
        self._under_way = 0
        self._going_on: deque[asyncio.Future[None]] = deque()
        self._new: deque[asyncio.Future[None]] = deque()
        self._in_hand = 0
        self._idle_since: float | None = None
        self._begin_round()

    def _begin_round(self) -> None:
        self._began = self._clock()
        self._idle = 0.0
        self._left = max(self.at_once, ROUND)
        self._was_full = False

    @asynccontextmanager
    async def place(self, *, new: bool = False) -> AsyncIterator[Place]:
        """Waits for a place, and holds it until the answer has been read.

        Requests for something `new` come after those that go on with something.
        """
        await self._enter(self._new if new else self._going_on)
        place = Place(self)
        try:
            yield place
        finally:
            self._under_way -= 1
            if place.is_answered:
                self._read()
            self._let_in()

    def arrived(self) -> None:
        """An answer has begun to arrive."""
        self._in_hand += 1
        if self._idle_since is not None:
            self._idle += self._clock() - self._idle_since
            self._idle_since = None

    async def _enter(self, queue: deque[asyncio.Future[None]]) -> None:
        if self._under_way < self.at_once and not self._going_on and not self._new:
            self._under_way += 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._under_way -= 1  # it had a place already
                    self._let_in()
                raise
        self._was_full |= self._under_way >= self.at_once

    def _let_in(self) -> None:
        while self._under_way < self.at_once and (queue := self._going_on or self._new):
            turn = queue.popleft()
            if not turn.done():
                self._under_way += 1
                turn.set_result(None)

    def _read(self) -> None:
        """One answer was read."""
        self._in_hand -= 1
        if not self._in_hand:
            # Not before what was read has been processed, which is the next thing that happens.
            asyncio.get_running_loop().call_soon(self._rest)
        self._left -= 1
        if self._left <= 0:
            self._adapt()
            self._begin_round()

    def _rest(self) -> None:
        if not self._in_hand and self._idle_since is None:
            self._idle_since = self._clock()

    def _adapt(self) -> None:
        idle = self._idle / max(self._clock() - self._began, 1e-9)
        if idle > IDLE and self._was_full:
            self.at_once = min(self._most, 2 * self.at_once)
        elif idle < BUSY:
            fewer = self.at_once - max(1, self.at_once // 4)
            self.at_once = max(fewer, min(FEWEST, self._most))
