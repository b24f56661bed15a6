"""What the routes of the sample API share."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from polycopy_assets.demo.bad_answers import BAD_ANSWERS, bad_answer
from polycopy_assets.demo.contract import Window
from polycopy_assets.demo.entry import Entry, Labels
from polycopy_assets.demo.faults import Asked, Counts, Faults
from polycopy_assets.demo.freshness import Freshness, now
from polycopy_assets.demo.limits import Limits
from polycopy_assets.demo.world import Trade, World

Handler = Callable[[Request], Awaitable[Response]]
ErrorShape = Callable[[int, str, str], Response]
HTML = "<html><body><h1>Error 429: you are being rate limited</h1></body></html>"


class State:
    """World, faults and counts of one server; `freshness` and `latency` may change any time.

    `board_shift` is by how many rows a board moves between two pages of a walk.

    `lag_seconds` is how far the feed trails at first.

    `rate_limit` (requests, seconds) refuses what exceeds it, as the real API does; `rate_limits`
    has more of them, by what a path begins with. `counts` is about trades, `activity` about the
    other feed, `requests` has all requests by path.
    """

    def __init__(
        self,
        world: World,
        faults: Faults,
        *,
        lag_seconds: int = 5,
        dome_key: str = "demo-key",
        rate_limit: tuple[int, float] | None = None,
        rate_limits: Mapping[str, tuple[int, float]] | None = None,
    ) -> None:
        self.world = world
        self.faults = faults
        self.counts = Counts()
        self.activity = Counts()
        self.tips = Counts()
        self.requests: Counter[str] = Counter()
        self.labels = Labels()
        self.freshness = Freshness(lag=lag_seconds)
        self.latency = 0.0
        self.board_shift = 1
        self.down = False
        self.dome_key = dome_key
        everything = {"": rate_limit} if rate_limit else {}
        self.limits = Limits({**everything, **(rate_limits or {})})

    @property
    def lag_seconds(self) -> int:
        """How far the feed trails, as the status says."""
        return self.freshness.lag

    @lag_seconds.setter
    def lag_seconds(self, seconds: int) -> None:
        self.freshness.lag = seconds

    @property
    def refused(self) -> int:
        """How many requests exceeded a rate limit."""
        return self.limits.refused.total()

    def counts_of(self, feed: str) -> Counts:
        """What was asked of a feed."""
        return {"trades": self.counts, "activity": self.activity, "tips": self.tips}[feed]

    @property
    def newest_served(self) -> int:
        """The latest second whose trades are in the feed."""
        return self.freshness.newest_served(now())

    def served(
        self,
        query: Window,
        rows: Sequence[Trade | Entry],
        cursor: Any,
        feed: str = "trades",
    ) -> None:
        """Notes what a request got."""
        times = [row.timestamp for row in rows]
        self.counts_of(feed).served(
            Asked(
                wallet=query.user.lower(),
                start=query.start,
                end=query.end,
                first_page=cursor is None,
                rows=len(rows),
                newest=max(times, default=None),
                oldest=min(times, default=None),
            )
        )


def json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`body` as JSON, with the trace id that every answer carries."""
    return Response(
        msgspec.json.encode(body),
        status,
        {"x-trace-id": uuid.uuid4().hex[:16], **(headers or {})},
        media_type="application/json",
    )


def v2_error(status: int, code: str, text: str, *, parameter: str | None = None) -> Response:
    """An error in the shape of Data API v2."""
    trace = uuid.uuid4().hex[:16]
    body = {
        "error": text,
        "code": code,
        "retryable": status in (429, 503),
        "trace_id": trace,
        **({"parameter": parameter} if parameter else {}),
    }
    headers = {"x-trace-id": trace}
    if status in (429, 503):
        headers["Retry-After"] = "1"
    return json(body, status, headers)


def trade_route(
    state: State,
    handler: Handler,
    error: ErrorShape = v2_error,
    *,
    arrived: Callable[[str, float], None] | None = None,
    feed_of: Callable[[Mapping[str, str]], str] = lambda params: "trades",
) -> Handler:
    """A route that counts its requests and fails as often as it is set to.

    `feed_of` says by a request's parameters what feed it is for. `arrived` counts requests (wallet,
    monotonic seconds); without it they are requests of the feed.
    """

    async def route(request: Request) -> Response:
        now = time.monotonic()
        feed = feed_of(request.query_params)
        note = arrived or state.counts_of(feed).arrived
        note(request.query_params.get("user", ""), now)
        state.requests[request.url.path] += 1
        if state.limits.exceeded(request.url.path, now):
            return error(429, "rate_limited", "too many requests")
        if state.down:
            return error(503, "dependency_unavailable", "down")
        if state.latency:
            await asyncio.sleep(state.latency)
        fault = state.faults.draw()
        if fault == "truncated":
            whole = await handler(request)
            return Response(bytes(whole.body)[: state.faults.number(len(whole.body))], 200)
        if fault and fault not in BAD_ANSWERS:
            return await _fail(state, fault, error)
        whole = await handler(request)
        own = state.faults.named(request.query_params.get("user", ""), feed)
        return _spoiled(state.faults, fault or own, whole)

    return route


def _spoiled(faults: Faults, fault: str | None, whole: Response) -> Response:
    if fault not in BAD_ANSWERS:
        return whole
    number = faults.number(1000)
    size, seconds = faults.bomb_bytes, faults.slow_seconds
    return bad_answer(fault, whole, size=size, seconds=seconds, number=number)


async def _fail(state: State, fault: str, error: ErrorShape) -> Response:
    if fault == "hang":
        await asyncio.sleep(state.faults.hang_seconds)
    if fault in ("hang", "reset"):
        return Reset()
    if fault == "rate_limited_html":
        return Response(HTML, 429, {"Retry-After": "0"}, media_type="text/html")
    status, code = {
        "rate_limited": (429, "rate_limited"),
        "server_error": (500, "internal"),
        "unavailable": (503, "dependency_unavailable"),
    }[fault]
    return error(status, code, "this fault was asked for")


class Reset(Response):
    """Closes the connection in the middle of an answer."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Promises more bytes than it sends; uvicorn then closes the connection."""
        del scope, receive
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"1000"), (b"connection", b"close")],
            }
        )
        await send({"type": "http.response.body", "body": b'{"data":[', "more_body": True})
        raise ConnectionResetError
