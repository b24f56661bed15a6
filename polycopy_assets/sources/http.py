"""All HTTP happens here: budget, limits, bounded retries, and what a failure means."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType
from typing import Any, Self, TypeVar

import httpx
import msgspec
import stamina

from polycopy_assets.errors import ConfigurationError, ContractBroken, SourceError
from polycopy_assets.sources.body import ACCEPTED, BadBody, read_json, read_start
from polycopy_assets.sources.budget import Budget, Window
from polycopy_assets.sources.clock import age_of, date_of
from polycopy_assets.sources.error_body import error_object, message_of, told, trace_of
from polycopy_assets.sources.failing import RequestRefused, Retryable, Tries, backoff, failure
from polycopy_assets.sources.flow import Flow, Place
from polycopy_assets.sources.masking import Mask
from polycopy_assets.sources.retry_after import retry_after
from polycopy_assets.sources.route import Route
from polycopy_assets.system.version import VERSION
from polycopy_assets.text import one_line, said_by
from polycopy_assets.trades.odd_json import Json

T = TypeVar("T")

Params = Mapping[str, str | int | Sequence[str]]
"""The parameters of a request; a sequence is a parameter that is repeated."""

ATTEMPTS = 8

WHOLE = 4
"""How many silence time-outs an answer may take from its request to its last byte: one to connect,
one for the first byte, two for a page of a megabyte. 120 seconds by default."""

LONGEST_WHOLE = 600.0
"""The most seconds for an answer, whatever the time-out: a fetch without progress for 900 seconds
counts as dead, and is ended (`heartbeat.STALLED_SECONDS`)."""

_RETRYABLE_STATUS = frozenset({408, 429})


class Answer(msgspec.Struct, frozen=True):
    """A 200 with a JSON body: the body, how many requests it took, and the source's trace id.

    `date` is the source's clock when it made the answer, epoch seconds, None if it does not say;
    `age` is how many seconds a cache has held it. `seconds` is how long the source took for it,
    failed attempts and the waits after them included; waiting for the budget, or because the source
    throttles, is not counted. `tamed` is the body as the decoder accepts it, None if that is the
    body itself.
    """

    body: bytes
    requests: int
    trace: str
    date: float | None = None
    age: float = 0.0
    seconds: float = 0.0
    tamed: bytes | None = None

    @property
    def json(self) -> Json:
        """The body, to be decoded."""
        return Json(self.body, self.body if self.tamed is None else self.tamed)


class Http:
    """JSON over GET for one source; all requests of the process share its budget.

    `timeout` is seconds of silence before an attempt counts as failed; `proxy` the URL of the proxy
    to go through; `mask` takes secrets out of errors. `routes` are the windows of paths that have
    some of their own, beside `windows` for all. `explain` may turn a refusal (status, decoded
    error body) into a clearer reason; `on_request` is called for every request that is sent; `idle`
    is for how many seconds no other process has sent a request; `permit` is called before each
    request. To be used as an async context manager.
    """

    def __init__(
        self,
        base_url: str,
        *,
        windows: Sequence[Window],
        concurrency: int,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
        proxy: str = "",
        routes: Mapping[str, Sequence[Window]] = MappingProxyType({}),
        mask: Mask = Mask(()),  # noqa: B008 - it knows nothing and keeps nothing
        attempts: int = ATTEMPTS,
        explain: Callable[[int, Mapping[str, Any]], str | None] = lambda status, body: None,
        on_request: Callable[[], None] = lambda: None,
        idle: float = float("inf"),
        permit: Callable[[], None] = lambda: None,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._route = Route(self._base, proxy)
        self._budget = _budget(windows, idle, permit)
        self._routes = {path: _budget(each, idle, permit) for path, each in routes.items()}
        self._flow = Flow(concurrency)
        self._mask = mask
        self._attempts = attempts
        self._explain = explain
        self._on_request = on_request
        self._timeout = timeout
        self._whole = min(WHOLE * timeout, LONGEST_WHOLE)
        self._client = httpx.AsyncClient(
            headers={
                "User-Agent": f"polycopy-assets/{VERSION}",
                "Accept-Encoding": ACCEPTED,
                **(headers or {}),
            },
            timeout=httpx.Timeout(timeout, pool=None),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            # Cookies are not kept: a source could set new ones for ever.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            proxy=self._route.proxy or None,
            trust_env=False,
            verify=_trusted(),
        )

    async def __aenter__(self) -> Self:
        _say_nothing_of_requests()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.aclose()

    @property
    def at_once(self) -> int:
        """How many requests at the same time are of use now."""
        return self._flow.at_once

    async def get(self, path: str, params: Params, what: str) -> Answer:
        """The JSON body at `path`; `what` names the request in errors.

        Raises PermanentError when the source refuses, TransientError when it failed on every
        attempt (Unreachable where there was no connection), ContractBroken when its answer was
        broken the same way each time, or holds a secret. Bounded: `attempts` requests, with
        growing, jittered waits in between; each has a time limit, and its answer a size limit.

        """
        return await self.read(path, params, what, lambda answer: answer)

    async def read(
        self,
        path: str,
        params: Params,
        what: str,
        read: Callable[[Answer], T],
        *,
        new: bool = False,
    ) -> T:
        """What `read` makes of the answer that `get` describes; also raises what `read` raises.

        Requests for something `new` wait for those that go on with something.

        All text about a request and its answer passes through here, which removes secrets.
        """
        try:
            return await self._get(path, params, what, read, new=new)
        except SourceError as error:
            clean = type(error)(self._mask(str(error)))
        # Raised outside of the handler: Dagster logs every chained error as it is.
        raise clean

    async def _get(
        self,
        path: str,
        params: Params,
        what: str,
        read: Callable[[Answer], T],
        *,
        new: bool,
    ) -> T:
        """Like `read`, but the errors may contain any text that a server sent."""
        tries = Tries()
        try:
            async for attempt in stamina.retry_context(
                on=backoff, attempts=self._attempts, timeout=None, wait_initial=0.2, wait_max=15.0
            ):
                with attempt:
                    tries.go_on()
                    async with self._flow.place(new=new) as place:
                        answer = await self._once(path, params, tries, place)
                        return read(self._without_secrets(answer, what, tries))
        except (RequestRefused, Retryable) as error:
            # Without its cause: only the text below may be shown.
            raise failure(error, what, tries) from None
        raise AssertionError("the retry loop ended without an answer")

    def _without_secrets(self, answer: Answer, what: str, tries: Tries) -> Answer:
        """The answer and what it took; raises ContractBroken if it holds a secret."""
        if self._mask.occurs_in(answer.body):
            raise ContractBroken(
                f"{what}: the answer holds a secret that was sent with the request, or part of it"
            )
        return msgspec.structs.replace(
            answer,
            requests=tries.used,
            seconds=tries.seconds,
            trace=self._mask(answer.trace),
        )

    async def _once(self, path: str, params: Params, tries: Tries, place: Place) -> Answer:
        route = self._routes.get(path)
        async with route.slot() if route else nullcontext(), self._budget.slot():
            self._on_request()
            with tries.one():
                try:
                    async with asyncio.timeout(self._whole):
                        return await self._exchange(path, params, place)
                except TimeoutError as error:
                    raise Retryable(
                        f"{path} did not end within {self._whole:g} s", slow=True
                    ) from error
                except httpx.InvalidURL as error:
                    raise RequestRefused(f"not a URL: {said_by(error)}") from error
                except (httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
                    # Its message may quote the header with the key.
                    raise RequestRefused(f"cannot be sent ({type(error).__name__})") from error
                except httpx.TransportError as error:
                    raise self._failed(error) from error

    async def _exchange(self, path: str, params: Params, place: Place) -> Answer:
        request = self._client.stream("GET", self._base + path, params=dict(params))
        async with request as response:
            place.answered()
            if response.status_code == HTTPStatus.OK:
                try:
                    body, tamed = await read_json(response)
                    date, age = date_of(response.headers), age_of(response.headers)
                    trace = trace_of(response)
                    odd = tamed if tamed is not body else None
                    return Answer(body, 1, trace, date, age, tamed=odd)
                except BadBody as error:
                    said = f"200 with {error}{told(response)}"
                    raise Retryable(said, same=error.same) from error
            wait = retry_after(response.headers)
            throttled = response.status_code == HTTPStatus.TOO_MANY_REQUESTS
            if throttled:
                self._budget.hold(wait or 0.0)
            body = error_object(await read_start(response))
            raise self._refusal(response, body, wait, throttled=throttled)

    def _refusal(
        self,
        response: httpx.Response,
        body: Mapping[str, Any],
        wait: float | None,
        *,
        throttled: bool,
    ) -> RequestRefused | Retryable:
        """The failure for an answer other than 200."""
        status = response.status_code
        said = one_line(message_of(body) or response.reason_phrase)
        text = f"{status} {said}{told(response)}"
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and self._route.proxy:
            return Retryable(self._route.proxy_refused(text), unreachable=True)
        if status in _RETRYABLE_STATUS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Retryable(text + self._route.through, wait, throttled=throttled)
        reason = self._explain(status, body) or text
        return RequestRefused(f"refused with {reason}{self._route.through}")

    def _failed(self, error: httpx.TransportError) -> Retryable:
        """The failure for a broken exchange."""
        if sentence := self._route.no_connection(error):
            return Retryable(sentence, unreachable=True)
        where = f"{self._route.origin}{self._route.through}"
        if isinstance(error, httpx.ReadTimeout):
            return Retryable(f"no data from {where} for {self._timeout:g} s")
        said = said_by(error) or type(error).__name__
        return Retryable(f"the connection to {where} broke off: {said}")


def _budget(windows: Sequence[Window], idle: float, permit: Callable[[], None]) -> Budget:
    """A budget in which the requests of other processes, `idle` seconds ago, still count."""
    budget = Budget(windows, permit=permit)
    budget.hold(max(window.seconds for window in windows) - idle)
    return budget


def _trusted() -> ssl.SSLContext:
    """The certificates that are trusted: certifi's, or those that SSL_CERT_FILE or _DIR name."""
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the certificates of SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {said_by(error)}"
        ) from error


def _say_nothing_of_requests() -> None:
    """Silences httpx and stamina in this process; not at import, which must have no effects.

    Every failure that matters ends in an error of ours; a line per request or retry is noise, and
    stamina's would go to standard output, which is for results.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)
    stamina.instrumentation.set_on_retry_hooks(())
