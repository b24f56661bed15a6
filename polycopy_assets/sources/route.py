"""The connection to a source, directly or through a proxy, and why it fails."""

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings.proxy import ACCEPTED, proxy_url, shown
from polycopy_assets.text import quoted, said_by


class Route:
    """The way to the source at `base_url`, through `proxy` if there is one (its URL).

    Both are named by scheme, host and port alone: the rest may hold a user, a password or a key.
    """

    def __init__(self, base_url: str, proxy: str = "") -> None:
        self.origin = _origin(base_url)
        self.proxy = _checked(proxy) if proxy else ""
        self._next = shown(proxy) if proxy else self.origin
        self.through = f" through the proxy {self._next}" if proxy else ""

    def no_connection(self, error: httpx.TransportError) -> str | None:
        """One sentence if `error` means that the source cannot be reached at all; else None."""
        if isinstance(error, httpx.ProxyError):
            return self.proxy_refused(said_by(error))
        if isinstance(error, httpx.ConnectTimeout):
            return f"{self._who} did not accept the connection in time"
        if not isinstance(error, httpx.ConnectError):
            return None
        for cause in _causes(error):
            if sentence := self._why(cause):
                return sentence
        return f"{self._who} cannot be reached: {said_by(error) or type(error).__name__}"

    def proxy_refused(self, answer: str) -> str:
        """The sentence for a proxy that answers in place of the source."""
        return f"the proxy {self._next} does not let us through to {self.origin}: {answer}"

    @property
    def _who(self) -> str:
        return f"the proxy {self._next}" if self.proxy else self.origin

    def _why(self, cause: BaseException) -> str | None:
        if isinstance(cause, socket.gaierror):
            host = urlsplit(self._next).hostname
            whose = " (the proxy)" if self.proxy else ""
            return f"the name {host}{whose} cannot be resolved: {cause.strerror}"
        if isinstance(cause, ssl.SSLCertVerificationError):
            certificate = f"the TLS certificate of {self.origin}{self.through}"
            return f"{certificate} is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            why = (cause.reason or said_by(cause)).replace("_", " ").lower()
            return f"TLS with {self.origin}{self.through} failed: {why}"
        if isinstance(cause, ConnectionRefusedError):
            return f"{self._who} refuses the connection"
        if isinstance(cause, OSError) and cause.strerror:
            return f"{self._who} cannot be reached: {cause.strerror}"
        return None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The causes of `error`, nearest first; if several connections were tried, of each."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            yield from cause.exceptions
        cause = cause.__cause__ or cause.__context__


def _checked(proxy: str) -> str:
    """The proxy's URL; raises ConfigurationError if httpx refuses what the settings accept."""
    url = proxy_url(proxy)
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(
            f"the proxy {quoted(shown(proxy))} is not accepted: {ACCEPTED}"
        ) from error
    return url
