"""How many requests are under way: all that a slow source needs, few if answers wait here."""

import asyncio
import threading
import time
from typing import Self

from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.flow import FEWEST, FIRST, Flow
from polycopy_assets.sources.http import Answer, Http

MOST = 16
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b'{"ok":true}'


class Server:
    """Answers each request after `seconds`; `most` is how many it had at the same time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._under_way = self.most = 0
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._run()))
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set_result, None)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as listening:
            self.port = listening.sockets[0].getsockname()[1]
            self._ready.set()
            await self._end
        await asyncio.sleep(0.05)  # until all connections have been closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self._under_way += 1
                self.most = max(self.most, self._under_way)
                await asyncio.sleep(self._seconds)
                self._under_way -= 1
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def asked(server: Server, requests: int, work: float = 0.0) -> list[int]:
    """Sends the requests together; reading an answer keeps the event loop busy for `work` seconds.

    Returns how many requests at the same time were of use, after each answer.
    """
    of_use: list[int] = []

    async def run() -> None:
        async with Http(
            f"http://127.0.0.1:{server.port}", windows=[Window(10_000, 1)], concurrency=MOST
        ) as http:

            def read(_answer: Answer) -> None:
                time.sleep(work)
                of_use.append(http.at_once)

            await asyncio.gather(
                *(http.read("/v2/trades", {}, "trades", read, new=True) for _ in range(requests))
            )

    asyncio.run(run())
    return of_use


def test_a_slow_source_is_asked_as_often_at_the_same_time_as_allowed():
    with Server(seconds=0.2) as server:
        asked(server, 160)
    assert server.most == MOST


def test_an_instant_source_gets_few_requests_while_its_answers_keep_this_process_busy():
    with Server(seconds=0.0) as server:
        of_use = asked(server, 60, work=0.03)
    assert of_use[-1] == FEWEST
    assert server.most <= FIRST


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def rounds(flow: Flow, clock: Clock, latency: float, work: float, number: int) -> None:
    """All requests that are let in are answered together after `latency`, then read in turn."""
    for _ in range(number):
        places = [flow.place() for _ in range(flow.at_once)]
        held = [await place.__aenter__() for place in places]
        clock.now += latency
        for each in held:
            each.answered()
        for place in places:
            clock.now += work
            await place.__aexit__(None, None, None)
            await asyncio.sleep(0)
        await asyncio.sleep(0)


def test_answers_of_a_slow_source_that_arrive_together_do_not_slow_it_down():
    clock = Clock()
    flow = Flow(MOST, clock=clock)
    asyncio.run(rounds(flow, clock, latency=0.3, work=0.005, number=20))
    assert flow.at_once == MOST


def test_a_source_gets_fewer_requests_when_it_speeds_up_and_more_when_it_slows_down():
    clock = Clock()
    flow = Flow(MOST, clock=clock)

    async def run() -> list[int]:
        found: list[int] = []
        for latency in (0.3, 0.0, 0.3):
            await rounds(flow, clock, latency=latency, work=0.005, number=20)
            found.append(flow.at_once)
        return found

    assert asyncio.run(run()) == [MOST, FEWEST, MOST]


def test_places_that_nobody_wants_are_no_reason_for_more():
    clock = Clock()
    flow = Flow(MOST, clock=clock)

    async def run() -> None:
        for _ in range(100):
            async with flow.place() as place:
                clock.now += 0.3
                place.answered()
            await asyncio.sleep(0)

    asyncio.run(run())
    assert flow.at_once == FIRST


def test_with_one_request_at_a_time_there_is_one():
    clock = Clock()
    flow = Flow(1, clock=clock)

    async def run() -> None:
        await rounds(flow, clock, latency=0.0, work=0.005, number=20)
        assert flow.at_once == 1
        await rounds(flow, clock, latency=0.3, work=0.005, number=20)
        assert flow.at_once == 1

    asyncio.run(run())


def test_what_was_begun_goes_before_what_is_new():
    flow = Flow(1)
    order: list[str] = []

    async def request(name: str, *, new: bool) -> None:
        async with flow.place(new=new):
            order.append(name)
            await asyncio.sleep(0)

    async def run() -> None:
        await asyncio.gather(
            request("first", new=True),
            request("new", new=True),
            request("new too", new=True),
            request("begun", new=False),
        )

    asyncio.run(run())
    assert order == ["first", "begun", "new", "new too"]


def test_a_request_that_is_given_up_while_it_waits_takes_no_place():
    flow = Flow(1)

    async def hold(seconds: float) -> None:
        async with flow.place():
            await asyncio.sleep(seconds)

    async def run() -> None:
        first = asyncio.create_task(hold(0.01))
        waiting = [asyncio.create_task(hold(0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await first
        waiting[1].cancel()  # it was just let in
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.wait_for(hold(0), 1)

    asyncio.run(run())


def test_requests_that_failed_say_nothing():
    flow = Flow(MOST)

    async def run() -> None:
        for _ in range(100):
            async with flow.place():
                pass

    asyncio.run(run())
    assert flow.at_once == FIRST
