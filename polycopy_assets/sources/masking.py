"""Removes secrets from texts: a gateway or a proxy may echo what it was sent, in any spelling."""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from urllib.parse import quote, quote_plus, unquote, urlsplit

from polycopy_assets.settings.proxy import proxy_url
from polycopy_assets.sources.pieces import Pieces

MASKED = "***"
_PIECE = 8
"""This many characters of a secret are masked, even if the rest is cut off or spelled
differently."""

_STORED = 12
"""An answer with this many characters of a key is refused: fewer may be a word of a market's
title."""

_STORED_BASE64 = 16
"""The same in base64, four characters for three."""

_UNESCAPED = 8
"""Levels of JSON within strings of JSON that are looked through."""

_ESCAPE = re.compile(r"\\(?:u00([0-7][0-9a-fA-F])|([\"\\/]))")
_ESCAPE_BYTES = re.compile(_ESCAPE.pattern.encode())


class Mask:
    """Knows some secrets and the ways in which a text may spell them.

    `keys` were sent to the source itself: its answers must not hold them, see `occurs_in`.
    `others`, such as a proxy's password, never reach it: they are only removed from texts. If an
    answer seems to contain one, it is data.
    """

    def __init__(self, keys: Iterable[str] = (), others: Iterable[str] = ()) -> None:
        keys = [key for key in keys if key]
        secrets = [*keys, *filter(None, others)]
        spellings = {each.lower() for secret in secrets for each in _spellings(secret)}
        self._lengths = sorted({min(len(each), _PIECE) for each in spellings})
        self._pieces = {
            each[start : start + _PIECE]
            for each in spellings
            for start in range(max(1, len(each) - _PIECE + 1))
        }
        # Shorter keys may be ordinary words.
        long = [key for key in keys if len(key) >= _PIECE]
        self._stored = [
            Pieces({each for key in long for each in _written(key)}, _STORED),
            Pieces({each for key in long for each in _base64(key)}, _STORED_BASE64),
        ]

    def __call__(self, text: str) -> str:
        """`text` with `***` for every secret, and for every eight or more characters of one."""
        units = list(_units(text))
        hidden = self._hidden(text)
        if len(units) < len(text):
            unescaped = self._hidden("".join(character for _, character in units))
            at = 0
            for (written, _), is_hidden in zip(units, unescaped, strict=True):
                if is_hidden:
                    hidden[at : at + len(written)] = b"\1" * len(written)
                at += len(written)
        return "".join(
            MASKED if is_hidden else "".join(c for c, _ in run)
            for is_hidden, run in groupby(zip(text, hidden, strict=True), key=lambda pair: pair[1])
        )

    def occurs_in(self, body: bytes) -> bool:
        """Whether `body` holds a key that was sent, or a long piece of one, however it is spelled.

        A long piece is `_STORED` characters; a shorter key counts as a whole, one of fewer than
        `_PIECE` never. Escapes of JSON are undone, those in strings within strings too.
        """
        text = body.lower() if any(self._stored) else b""
        for _ in range(_UNESCAPED):
            if any(pieces.occur_in(text) for pieces in self._stored):
                return True
            if b"\\" not in text:
                break
            text = _ESCAPE_BYTES.sub(_unescaped, text).lower()
        return False

    def _hidden(self, text: str) -> bytearray:
        """For each character of `text`, 1 if it belongs to a secret."""
        # Not lower() of the whole text: it may change the length of text that is not ASCII.
        lower = "".join(c.lower() if c.isascii() else c for c in text)
        hidden = bytearray(len(text))
        for length in self._lengths:
            for start in range(len(lower) - length + 1):
                if lower[start : start + length] in self._pieces and _alone(lower, start, length):
                    hidden[start : start + length] = b"\1" * length
        return hidden


def _units(text: str) -> Iterator[tuple[str, str]]:
    r"""(as written, character) for each character of `text`: `\\/` and `/`."""
    at = 0
    for found in _ESCAPE.finditer(text):
        yield from ((c, c) for c in text[at : found.start()])
        yield found[0], chr(int(found[1], 16)) if found[1] else found[2]
        at = found.end()
    yield from ((c, c) for c in text[at:])


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)]) if found[1] else found[2]


def _alone(text: str, start: int, length: int) -> bool:
    """Whether the match may be a secret: a short one, such as `x`, must not be part of a word."""
    around = text[max(start - 1, 0) : start] + text[start + length : start + length + 1]
    return length >= _PIECE or not any(c.isalnum() for c in around)


def _spellings(secret: str) -> Iterator[str]:
    yield from _written(secret)
    yield base64.b64encode(secret.encode()).decode().rstrip("=")
    yield from (each for each in _base64(secret) if len(each) >= _PIECE)


def _written(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield html.escape(secret)


def _base64(secret: str) -> Iterator[str]:
    """`secret` in the base64 of any text around it: `Bearer SECRET`, `USER:SECRET`, itself.

    Three bytes become four characters, so there are three forms, by its offset in the three bytes;
    of each, only the characters that depend on the secret alone. Both alphabets.
    """
    for before, foreign in enumerate((0, 2, 3)):
        data = bytes(before) + secret.encode()
        known = base64.b64encode(data).decode().rstrip("=")[foreign:]
        known = known[:-1] if len(data) % 3 else known
        yield known
        yield known.translate(str.maketrans("+/", "-_"))


def proxy_secrets(url: str) -> Iterator[str]:
    """The password in a proxy's URL, as written, decoded and sent."""
    parts = urlsplit(proxy_url(url))
    if parts.password:
        yield parts.password
        yield unquote(parts.password)
        yield f"{unquote(parts.username or '')}:{unquote(parts.password)}"
