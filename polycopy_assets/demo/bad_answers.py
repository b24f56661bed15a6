"""Answers that are hard to read: endless, huge, or nonsense."""

import asyncio
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec
from starlette.responses import Response

BAD_ANSWERS = (
    "slow_body",
    "gzip_bomb",
    "too_long",
    "broken_json",
    "broken_gzip",
    "odd_retry_after",
    "odd_text",
)
"""The right body at a byte a second; 1.5 GB of spaces packed into 1.5 MB; as many, not packed; a
200 whose JSON, or whose gzip, is broken the same way each time; a 503 whose `Retry-After` is one of
`ODD_RETRY_AFTER`; a 400 with a long text and terminal escape sequences."""

ODD_RETRY_AFTER = (
    "Fri, 31 Dec 9999 23:59:59 -0100",
    "-5",
    "9" * 400,
    "0.001",
    "nan",
    "1e400",
    "soon",
    "Mon, 99 Foo 2026 10:00:00 +9999",
    "\u00b2",
    "",
)

ODD_TEXT = "\x1b[2J\x1b]0;owned\x07 no\r\nERROR forged line \u202egnihton \u2028" + "long " * 10_000

_BLOCK = b" " * 2**20


def bad_answer(kind: str, whole: Response, *, size: int, seconds: float, number: int) -> Response:
    """The answer `kind`, which replaces `whole`.

    `size` is a bomb's in bytes, `seconds` how long a slow body waits after each byte; `number`
    picks one of several variants.
    """
    makers: dict[str, Callable[[], Response]] = {
        "slow_body": lambda: Slow(whole, seconds),
        "gzip_bomb": lambda: Response(_bomb(size), headers={"Content-Encoding": "gzip"}),
        "too_long": lambda: Endless(size),
        "broken_json": lambda: Response(b'{"data": [{"proxy_wallet": '),
        "broken_gzip": lambda: Response(b"no gzip", headers={"Content-Encoding": "gzip"}),
        "odd_retry_after": lambda: _come_back(number),
        "odd_text": lambda: Response(
            msgspec.json.encode({"code": "invalid_request", "error": ODD_TEXT}),
            400,
            {"x-trace-id": "t\x9b31m"},
        ),
    }
    return makers[kind]()


def _come_back(number: int) -> Response:
    """A 503 with an odd `Retry-After`, now and then with several."""
    answer = Response("{}", 503)
    first = number % len(ODD_RETRY_AFTER)
    for value in ODD_RETRY_AFTER[first : first + 1 + number % 2]:
        answer.headers.append("Retry-After", value)
    return answer


@lru_cache(maxsize=2)
def _bomb(size: int) -> bytes:
    """`size` bytes of spaces in gzip.

    One compressed block is repeated: after a full flush, the output is byte-aligned and does not
    depend on earlier data.
    """
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = pack.compress(_BLOCK) + pack.flush(zlib.Z_FULL_FLUSH)
    count, checksum = -(-size // len(_BLOCK)), 0
    for _ in range(count):
        checksum = zlib.crc32(_BLOCK, checksum)
    length = count * len(_BLOCK) & 0xFFFFFFFF
    end = pack.flush() + checksum.to_bytes(4, "little") + length.to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * count + end


class Slow(Response):
    """Sends the body of another answer byte by byte, until it is whole or the client is gone."""

    def __init__(self, whole: Response, seconds: float) -> None:
        super().__init__(whole.body, whole.status_code, dict(whole.headers))
        self._seconds = seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one request."""
        del scope
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        for at in range(len(self.body)):
            piece = bytes(self.body[at : at + 1])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if await _hung_up(receive, self._seconds):
                return
        await send({"type": "http.response.body", "body": b""})


class Endless(Response):
    """Sends `size` spaces, unless the client goes first."""

    def __init__(self, size: int) -> None:
        super().__init__(b"")
        self._blocks = -(-size // len(_BLOCK))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one request."""
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": []})
        for _ in range(self._blocks):
            await send({"type": "http.response.body", "body": _BLOCK, "more_body": True})
            if await _hung_up(receive, 0.001):
                return
        await send({"type": "http.response.body", "body": b""})


async def _hung_up(receive: Any, seconds: float) -> bool:
    """Waits `seconds`; True as soon as the client is gone."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
