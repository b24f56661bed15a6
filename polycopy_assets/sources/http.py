"""The one place for HTTP: budget, time-outs, bounded retries, and what a failure means."""

import asyncio
import datetime as dt
import email.utils
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import httpx
import msgspec
import stamina

from polycopy_assets import __version__
from polycopy_assets.errors import PermanentError, TransientError
from polycopy_assets.sources.budget import Budget, Window
from polycopy_assets.trades.odd_json import UNREADABLE, decode

ATTEMPTS = 8
LONGEST_RETRY_AFTER = 120.0
"""Seconds; a source that asks for more is treated as asking for this."""

_ANY = msgspec.json.Decoder(msgspec.Raw)
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_RETRYABLE_STATUS = frozenset({408, 429})

# Every failure that matters ends in an error of ours; a line a request or a retry is noise, and
# stamina's would go to standard output, which is for results.
logging.getLogger("httpx").setLevel(logging.WARNING)
stamina.instrumentation.set_on_retry_hooks(())


class _Retryable(Exception):
    """One attempt failed in a way that may pass; `retry_after` in seconds if the source said."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Answer(msgspec.Struct, frozen=True):
    """A 200 with a JSON body: the body, how many requests it took, and the source's trace id.

    `date` is the source's clock when it made the answer, epoch seconds, None if it does not say;
    `age` for how many seconds a cache has had it.
    """

    body: bytes
    requests: int
    trace: str
    date: float | None = None
    age: float = 0.0


class Http:
    """JSON over GET for one source; all requests of the process share its budget.

    `timeout` is seconds of silence before an attempt counts as failed. `explain` may turn a
    refusal (status, decoded error body) into a clearer reason; `on_request` is called for every
    request that is sent. `idle` tells for how many seconds nobody else has asked, `may_go` whether
    it is still this process's turn to ask. Use as an async context manager.
    """

    def __init__(
        self,
        base_url: str,
        *,
        windows: Sequence[Window],
        concurrency: int,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
        attempts: int = ATTEMPTS,
        explain: Callable[[int, Mapping[str, Any]], str | None] = lambda status, body: None,
        on_request: Callable[[], None] = lambda: None,
        idle: float = float("inf"),
        may_go: Callable[[], bool] = lambda: True,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._budget = Budget(windows, may_go=may_go)
        self._budget.hold(max(window.seconds for window in windows) - idle)
        self._in_flight = asyncio.Semaphore(concurrency)
        self._attempts = attempts
        self._explain = explain
        self._on_request = on_request
        self._client = httpx.AsyncClient(
            headers={"User-Agent": f"polycopy-assets/{__version__}", **(headers or {})},
            timeout=httpx.Timeout(timeout, pool=None),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.aclose()

    async def get(self, path: str, params: Mapping[str, str | int], what: str) -> Answer:
        """The JSON body at `path`; `what` names the thing asked for in errors.

        Raises PermanentError when the source refuses, TransientError when it failed on every
        attempt. Bounded: `attempts` requests, with growing, jittered waits in between.
        """
        used = 0
        try:
            async for attempt in stamina.retry_context(
                on=_backoff, attempts=self._attempts, timeout=None, wait_initial=0.2, wait_max=15.0
            ):
                with attempt:
                    used += 1
                    response = await self._once(path, params)
                    body = _body(response, what, self._explain)
                    return Answer(body, used, _trace(response), _date(response), _age(response))
        except _Retryable as error:
            raise TransientError(f"{what}: {error}, {used} attempts") from error
        raise AssertionError("the retry loop ended without an answer")

    async def _once(self, path: str, params: Mapping[str, str | int]) -> httpx.Response:
        async with self._in_flight, self._budget.slot():
            self._on_request()
            try:
                response = await self._client.get(self._base + path, params=dict(params))
            except httpx.TransportError as error:
                name = type(error).__name__
                raise _Retryable(f"{name} at {self._base}{path}: {error}".rstrip(": ")) from error
            except httpx.InvalidURL as error:
                raise PermanentError(f"{self._base}{path} is not a URL: {error}") from error
            except httpx.DecodingError as error:
                raise _Retryable(f"undecodable body from {path}: {error}") from error
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self._budget.hold(_retry_after(response) or 0.0)
        return response


def _backoff(error: Exception) -> bool | float:
    if not isinstance(error, _Retryable):
        return False
    return error.retry_after or True


def _body(
    response: httpx.Response,
    what: str,
    explain: Callable[[int, Mapping[str, Any]], str | None],
) -> bytes:
    status = response.status_code
    if status == httpx.codes.OK:
        try:
            decode(_ANY, response.content)
        except UNREADABLE as error:
            raise _Retryable(f"200 with a broken JSON body ({error}){_told(response)}") from error
        return response.content
    error_body = _error_body(response)
    text = f"{status} {_message(error_body) or response.reason_phrase}{_told(response)}"
    if status in _RETRYABLE_STATUS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise _Retryable(text, _retry_after(response))
    raise PermanentError(f"{what}: refused with {explain(status, error_body) or text}")


def _error_body(response: httpx.Response) -> Mapping[str, Any]:
    """The JSON object of an error, or nothing: proxies in front of a source answer in HTML."""
    try:
        return decode(_OBJECT, response.content)
    except UNREADABLE:
        return {}


def _message(body: Mapping[str, Any]) -> str:
    parts = (str(body[key]) for key in ("code", "error", "message", "parameter") if body.get(key))
    return ", ".join(parts)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds to wait as the source asked; None if it did not, or asked for none."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        try:
            at = email.utils.parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        seconds = (at.astimezone(dt.UTC) - dt.datetime.now(dt.UTC)).total_seconds()
    return min(seconds, LONGEST_RETRY_AFTER) if seconds > 0 else None


def _date(response: httpx.Response) -> float | None:
    """The source's clock, epoch seconds; None if there is none to be read."""
    try:
        return email.utils.parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None


def _age(response: httpx.Response) -> float:
    """For how many seconds the answer has lain in a cache; 0 if nobody says so."""
    text = response.headers.get("Age", "").strip()
    return float(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else 0.0


def _trace(response: httpx.Response) -> str:
    return response.headers.get("x-trace-id", "")


def _told(response: httpx.Response) -> str:
    trace = _trace(response)
    return f" (trace {trace})" if trace else ""
