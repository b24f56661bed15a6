"""Secrets taken out of texts: a gateway or a proxy may echo what it was sent, in any spelling."""

import base64
import html
import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from urllib.parse import quote, quote_plus, unquote, urlsplit

from polycopy_assets.sources.proxy import proxy_url

MASKED = "***"
_PIECE = 8
"""Characters. So much of a secret is masked also where the rest is cut off or spelled otherwise."""


class Mask:
    """Knows some secrets and the ways in which an answer may spell them; see `__call__`."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {each.lower() for secret in secrets if secret for each in _spellings(secret)}
        self._spellings = sorted(spellings)
        self._lengths = sorted({min(len(each), _PIECE) for each in spellings})
        self._pieces = {
            each[start : start + _PIECE]
            for each in spellings
            for start in range(max(1, len(each) - _PIECE + 1))
        }

    def __call__(self, text: str) -> str:
        """`text` with `***` for every secret, and for every eight or more characters of one."""
        # Not lower() of the whole: it may change the length of what is not ASCII.
        lower = "".join(c.lower() if c.isascii() else c for c in text)
        hidden = bytearray(len(text))
        for length in self._lengths:
            for start in range(len(lower) - length + 1):
                if lower[start : start + length] in self._pieces and _alone(lower, start, length):
                    hidden[start : start + length] = b"\1" * length
        return "".join(
            MASKED if is_hidden else "".join(c for c, _ in run)
            for is_hidden, run in groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])
        )

    def occurs_in(self, body: bytes) -> bool:
        """Whether `body` holds a whole secret."""
        lower = body.lower()
        return any(each.encode() in lower for each in self._spellings if len(each) >= _PIECE)


def _alone(text: str, start: int, length: int) -> bool:
    """Whether what stands there may be a secret: a short one, `x`, is no part of a word."""
    around = text[max(start - 1, 0) : start] + text[start + length : start + length + 1]
    return length >= _PIECE or not any(c.isalnum() for c in around)


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    yield base64.b64encode(secret.encode()).decode().rstrip("=")


def proxy_secrets(url: str) -> Iterator[str]:
    """The password in a proxy's URL, as it is written, meant and sent."""
    parts = urlsplit(proxy_url(url))
    if parts.password:
        yield parts.password
        yield unquote(parts.password)
        yield f"{unquote(parts.username or '')}:{unquote(parts.password)}"
