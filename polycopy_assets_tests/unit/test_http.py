"""The one place for HTTP, against a real server on loopback that answers as it is told."""

import asyncio
import datetime as dt
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import stamina

from polycopy_assets.errors import PermanentError, TransientError
from polycopy_assets.sources import dome, retry_after
from polycopy_assets.sources import http as http_module
from polycopy_assets.sources.budget import Budget, Window
from polycopy_assets.sources.http import Answer, Http

Reply = tuple[int, dict[str, str], bytes] | None
GOOD: Reply = (200, {"x-trace-id": "t1"}, b'{"ok": true}')


@contextmanager
def answering(*replies: Reply, heard: list[Any] | None = None) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these replies in turn, the last one for ever; None hangs up."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply = replies[min(len(asked), len(replies) - 1)]
            asked.append(self.path)
            if heard is not None:
                heard.append(self.headers)
            if reply is None:
                self.close_connection = True
                return
            status, headers, body = reply
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def get(url: str, **options: Any) -> Answer:
    async def run() -> Answer:
        async with Http(
            url, windows=[Window(1000, 1)], concurrency=2, timeout=0.3, attempts=3, **options
        ) as source:
            return await source.get("/v2/trades", {"user": "0xabc"}, "trades of 0xabc")

    return asyncio.run(run())


@pytest.fixture
def no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the request budget's clock shows: they pass only when the budget waits."""
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    timed = partial(Budget, clock=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(http_module, "Budget", timed)
    return now


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> dt.datetime:
    """The moment at which a date in `Retry-After` is read."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    frozen = SimpleNamespace(now=now.astimezone)
    monkeypatch.setattr(retry_after, "dt", SimpleNamespace(datetime=frozen, UTC=dt.UTC))
    return now


HTML_429: Reply = (429, {"Retry-After": "0", "Content-Type": "text/html"}, b"<html>slow</html>")


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize(
    "fault",
    [
        HTML_429,
        (429, {}, b'{"error":"x","code":"rate_limited"}'),
        (408, {}, b""),
        (500, {}, b"oops"),
        (503, {}, b'{"code":"dependency_unavailable"}'),
        (200, {}, b'{"data": [1, 2'),
        (200, {}, b"<html>a captive portal</html>"),
        (200, {}, b""),
        (200, {"Content-Length": "999"}, b'{"data":'),
        None,
    ],
)
def test_what_may_pass_is_tried_again_and_then_works(fault: Reply):
    with answering(fault, GOOD) as (url, asked):
        answer = get(url)
    assert (answer.body, answer.requests, answer.trace) == (b'{"ok": true}', 2, "t1")
    assert len(asked) == 2


@pytest.mark.usefixtures("no_waits")
def test_what_does_not_pass_ends_after_the_attempts_and_says_what_was_asked():
    with (
        answering((503, {"x-trace-id": "t9"}, b'{"code":"request_timeout"}')) as (url, asked),
        pytest.raises(TransientError) as error,
    ):
        get(url)
    assert len(asked) == 3
    for words in ("trades of 0xabc", "503", "request_timeout", "t9", "3 attempts"):
        assert words in str(error.value)


@pytest.mark.usefixtures("no_waits")
def test_a_server_that_is_not_there_is_a_transient_failure_that_names_it():
    with pytest.raises(TransientError, match=r"http://127\.0\.0\.1:9"):
        get("http://127.0.0.1:9")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 302])
def test_a_refusal_is_final_at_once_and_tells_code_parameter_and_trace(status: int):
    body = b'{"error":"bad","code":"invalid_request","parameter":"user"}'
    with (
        answering((status, {"x-trace-id": "t7"}, body)) as (url, asked),
        pytest.raises(PermanentError) as error,
    ):
        get(url)
    assert len(asked) == 1
    for words in (str(status), "invalid_request", "user", "t7"):
        assert words in str(error.value)


@pytest.mark.usefixtures("no_waits")
def test_the_next_attempt_is_sent_when_retry_after_is_over(clock: list[float]):
    sent: list[float] = []
    with answering((429, {"Retry-After": "7"}, b"{}"), GOOD) as (url, _):
        get(url, on_request=lambda: sent.append(clock[0]))
    assert sent == [0.0, 7.0]


def test_domes_two_refusals_with_401_are_told_apart():
    key = "sk-not-to-be-seen"
    headers = {"Authorization": f"Bearer {key}"}
    for body, words in (
        (b'{"error":"Offset deprecated","message":"use pagination_key"}', "not of the API key"),
        (b'{"error":"Unauthorized"}', "DOME_API_KEY was not accepted"),
    ):
        with (
            answering((401, {}, body)) as (url, _),
            pytest.raises(PermanentError, match=words) as error,
        ):
            get(url, headers=headers, explain=dome.explain)
        assert key not in str(error.value)
