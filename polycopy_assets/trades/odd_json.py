"""Legal JSON that the decoder refuses: made readable without moving a byte.

msgspec refuses two kinds of valid JSON: nesting deeper than Python's recursion limit, and half of a
surrogate pair, as in a text that was cut in the middle of an emoji. Neither may stop a trade that
merely has such a value in a field that is never read.
"""

import re
from typing import NamedTuple, TypeVar

import msgspec

T = TypeVar("T")

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
"""What `decode` raises for text that is not JSON, or not of the requested type."""

MOST_VALUES = 200_000
"""The most values in one answer: 1,000 rows have about 20,000. A body within the cap could hold
four million, and each costs eighty bytes when it is parsed."""

MOST_SIGNS = 2 * MOST_VALUES
"""The most brackets, quotes and backslashes in a text that is tamed. A page of 1,000 rows, each of
784 bytes and half of that escaped, has 220,000; each costs a quarter of a microsecond in which
nothing else runs. 8 MiB of brackets took five seconds, four times a page."""

DEEPEST = 64
"""Levels of nesting that are kept; anything deeper reads as 0."""

# The closing quote is optional, so that an unterminated text is read once, not once a byte.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\.",
    re.DOTALL,
)


_ANY = msgspec.json.Decoder(msgspec.Raw)


class TooOdd(msgspec.DecodeError):
    """A text that would have to be tamed, but has more than `MOST_SIGNS` signs."""


class Json(NamedTuple):
    """JSON as served, and as the decoder accepts it: byte for byte at the same place.

    `tamed` is `served` itself if the decoder accepts that.
    """

    served: bytes
    tamed: bytes


def readable(text: bytes) -> Json:
    """`text`, tamed if it has to be; raises one of `UNREADABLE` if it is still not JSON."""
    try:
        _ANY.decode(text)
    except (*UNREADABLE, RecursionError):
        tamed = tame(text)
        _ANY.decode(tamed)
        return Json(text, tamed)
    return Json(text, text)


def decode(decoder: msgspec.json.Decoder[T], text: bytes | msgspec.Raw) -> T:
    """What `text` holds, tamed if it has to be; raises one of `UNREADABLE`."""
    try:
        return decoder.decode(text)
    except (msgspec.ValidationError, UnicodeDecodeError):
        raise  # of another type, or not text: taming does not help
    except (*UNREADABLE, RecursionError):
        return decoder.decode(tame(bytes(text)))


def tame(text: bytes) -> bytes:
    """`text` in the same number of bytes, without the values that the decoder refuses.

    Arrays and objects deeper than `DEEPEST` read as 0, and halves of surrogate pairs as U+FFFD.
    Takes time in proportion to the length, and at most some tenths of a second: raises TooOdd,
    after some milliseconds, if there is too much to process.
    """
    signs = sum(text.count(sign) for sign in (b"[", b"]", b"{", b"}", b'"', b"\\"))
    if signs > MOST_SIGNS:
        raise TooOdd(
            f"{signs:,} brackets, quotes and backslashes, and {MOST_SIGNS:,} are looked at where"
            " JSON is deeply nested or broken"
        )
    return _ESCAPE.sub(_whole, _shallow(text))


def _whole(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape["half"] else escape[0]


def _shallow(text: bytes) -> bytes:
    kept: list[bytes] = []
    depth = 0
    done = 0
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in b"[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept.append(text[done : token.start()])
                done = token.start()
        elif sign in b"]}":
            if depth == DEEPEST + 1:
                kept.append(b"0".ljust(token.end() - done))
                done = token.end()
            depth -= 1
    kept.append(text[done:])
    return b"".join(kept)
