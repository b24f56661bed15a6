"""The body of an answer, read as a stream: never more than a cap, however well it is compressed.

`Content-Encoding` is decoded here and not by httpx, which decompresses each chunk whole: a bomb
that compresses a thousand to one turns 64 KB off the wire into 64 MB at once, again and again.
"""

import zlib
from collections.abc import AsyncIterator, Hashable, Iterator

import httpx

from polycopy_assets.text import NAME, counted, one_line, said_by
from polycopy_assets.trades.odd_json import MOST_VALUES, UNREADABLE, Json, TooOdd, readable

PAGE_BYTES = 8 * 2**20
"""The most an answer may hold: 1,000 rows of 8 KiB. The longest of 7,092 real rows has 784."""

ERROR_BYTES = 64 * 2**10
"""The most that is read of an error's body; the documented ones have about 200 bytes."""

ACCEPTED = "gzip, deflate"
"""The encodings that are requested, and decoded."""

_PIECE = 64 * 2**10
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class BadBody(Exception):
    """A body that cannot be used, and why; `same` is equal for bodies with the same fault."""

    def __init__(self, reason: str, same: Hashable) -> None:
        super().__init__(reason)
        self.same = same


async def read_json(response: httpx.Response) -> Json:
    """The JSON that a streamed answer holds; raises BadBody if it is invalid or too long."""
    body = bytearray()
    async for piece in _pieces(response):
        body += piece
        if len(body) > PAGE_BYTES:
            raise BadBody(f"a body of more than {PAGE_BYTES:,} bytes", "too long")
    return _checked(bytes(body))


async def read_start(response: httpx.Response) -> bytes:
    """The first bytes of an error's body; what cannot be decompressed is left out."""
    body = bytearray()
    try:
        async for piece in _pieces(response):
            body += piece
            if len(body) >= ERROR_BYTES:
                break
    except BadBody:
        pass  # the status says enough
    return bytes(body[:ERROR_BYTES])


def _checked(body: bytes) -> Json:
    try:
        found = readable(body)
    except TooOdd as error:
        raise _bad(body, f"a body of {error}") from error
    except UNREADABLE as error:
        raise _bad(body, f"a broken JSON body ({said_by(error)})") from error
    # Ordinary pages are not counted: only a bomb is worth the cost.
    if len(body) > PAGE_BYTES // 4 and (values := body.count(b",")) > MOST_VALUES:
        raise _bad(body, f"a body of {counted(values, 'value')}")
    return found


def _bad(body: bytes, reason: str) -> BadBody:
    return BadBody(reason, (zlib.crc32(body), len(body)))


async def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body decompressed, in pieces of at most 64 KiB or of one chunk off the wire."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        async for chunk in response.aiter_raw():
            yield chunk
        return
    if encoding not in _WINDOWS:
        raise BadBody(f"an encoding that was not asked for ({one_line(encoding, NAME)})", encoding)
    packed = _Packed(encoding)
    async for chunk in response.aiter_raw():
        for piece in packed.unpack(chunk):
            yield piece
    packed.end()


class _Packed:
    """A compressed body as it arrives; gzip may have several members, one after another."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._size = self._sum = 0
        self._begin()

    def _begin(self) -> None:
        self._inflate = zlib.decompressobj(_WINDOWS[self._encoding])

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """What `data` decompresses to, in pieces of at most 64 KiB."""
        self._size += len(data)
        self._sum = zlib.crc32(data, self._sum)
        if self._size > PAGE_BYTES:
            # Empty compressed blocks yield no data that would ever reach the cap.
            raise BadBody(f"a body of more than {PAGE_BYTES:,} packed bytes", "too long")
        more = bool(data)
        while more:
            if self._inflate.eof:
                self._begin()
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise self._undecodable(str(error)) from error
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
            # More may follow a full piece, unless it was the stream's last.
            more = bool(data) or (len(piece) == _PIECE and not self._inflate.eof)
            yield piece

    def end(self) -> None:
        """The body has ended; raises BadBody if the compressed stream has not."""
        if self._size and not self._inflate.eof:
            raise self._undecodable("it ends too early")

    def _undecodable(self, why: str) -> BadBody:
        return BadBody(f"an undecodable {self._encoding} body ({why})", (self._size, self._sum))
