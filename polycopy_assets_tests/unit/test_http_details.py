"""HTTP once more: waits as asked, time-outs, how many at once, and who is told."""

import asyncio
import datetime as dt
import email.utils
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import stamina

from polycopy_assets.errors import TransientError
from polycopy_assets.sources import failing
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.http import Http
from polycopy_assets.sources.retry_after import retry_after
from polycopy_assets_tests.unit.test_http import GOOD, answering, clock, get, no_waits, today

__all__ = ["clock", "no_waits", "today"]


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.usefixtures("no_waits")
def test_silence_is_a_failure_after_the_time_out():
    with silent() as url, pytest.raises(TransientError, match=r"no data from http.*3 attempts"):
        get(url)


@pytest.mark.usefixtures("no_waits")
def test_a_body_that_cannot_be_unpacked_is_tried_again():
    with answering((200, {"Content-Encoding": "gzip"}, b"no gzip"), GOOD) as (url, asked):
        assert get(url).requests == 2
    assert len(asked) == 2


def test_a_wait_that_the_source_asked_for_is_kept_by_the_retry():
    # By value and not by the clock: the jitter of an ordinary wait can come to more than a second.
    assert failing.backoff(failing.Retryable("slow", 7.0)) == 7.0
    assert failing.backoff(failing.Retryable("slow")) is True
    assert failing.backoff(ValueError("a defect of ours")) is False


def test_a_retry_after_may_be_a_date(today: dt.datetime):
    date = email.utils.format_datetime(today + dt.timedelta(seconds=30), usegmt=True)
    assert retry_after(httpx.Headers({"Retry-After": date})) == 30


def test_a_429_holds_back_the_requests_of_others(clock: list[float]):
    sent: list[float] = []

    async def run(url: str) -> None:
        async with Http(
            url,
            windows=[Window(99, 1)],
            concurrency=2,
            on_request=lambda: sent.append(clock[0]),
        ) as source:
            with pytest.raises(TransientError, match="429"):
                await source.get("/a", {}, "a")
            await source.get("/b", {}, "b")

    with (
        stamina.set_testing(True, attempts=1),
        answering((429, {"Retry-After": "7"}, b"{}"), GOOD) as (url, asked),
    ):
        asyncio.run(run(url))
    assert asked == ["/a", "/b"]
    assert sent == [0.0, 7.0]


def test_a_source_that_asks_for_an_hour_is_treated_as_asking_for_two_minutes():
    assert retry_after(httpx.Headers({"Retry-After": "3600"})) == 120.0


def test_no_more_are_under_way_than_allowed_and_each_request_is_told():
    lock, now, most = threading.Lock(), [0], [0]
    told: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        await asyncio.sleep(0.02)
        now[0] -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with (
            server,
            Http(
                f"http://127.0.0.1:{port}",
                windows=[Window(1000, 1)],
                concurrency=3,
                on_request=lambda: told.append(1),
            ) as source,
        ):
            await asyncio.gather(*(source.get("/", {}, "it") for _ in range(12)))

    asyncio.run(run())
    assert most[0] == 3
    assert len(told) == 12
