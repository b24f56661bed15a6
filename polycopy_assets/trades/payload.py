"""The bytes of a segment: gzip JSON lines, with the source that served them in the gzip header."""

import gzip
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from polycopy_assets.errors import ContractBroken
from polycopy_assets.text import quoted
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.shapes import Trade, guess_source, shape_of

# No time in the header: the same rows are the same bytes. 255: unknown operating system.
_HEADER = b"\x1f\x8b\x08" + bytes([0x10, 0, 0, 0, 0, 0, 255])
"""The fixed part of a gzip header whose only optional field is a comment."""

_LONGEST_SOURCE = 64


class Packer:
    """Compresses the lines of one segment, which `source` served.

    The source is the comment in the gzip header: copies of the file keep it, and every gzip reader
    skips it.
    """

    def __init__(self, source: str) -> None:
        self._zip = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._chunks = [_HEADER + source.encode("latin-1") + b"\0"]
        self._crc = 0
        self._length = 0
        self.size = len(self._chunks[0])

    def add(self, lines: bytes) -> None:
        """Takes lines; then `size` is the approximate number of compressed bytes so far."""
        self._crc = zlib.crc32(lines, self._crc)
        self._length += len(lines)
        self._keep(self._zip.compress(lines))

    def finish(self) -> bytes:
        """The whole file."""
        self._keep(self._zip.flush())
        self._keep(struct.pack("<II", self._crc, self._length & 0xFFFFFFFF))
        return b"".join(self._chunks)

    def _keep(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.size += len(chunk)


class Rows(NamedTuple):
    """The rows of a segment in the order in which they were served, newest first.

    `source` is the source that served them; None if unknown, which happens only without rows.
    """

    source: str | None
    rows: list[Trade]


def read_payload(payload: bytes, wallet: str, span: Interval, source: str | None = None) -> Rows:
    """The rows of a segment of `wallet` that covers `span`.

    `source` is the source that served them, if a record says so. Raises ContractBroken for what
    cannot be such a segment: not gzip, a line that is not a row of that source, a row of another
    wallet or of another time.
    """
    try:
        lines = gzip.decompress(payload)
    except (OSError, EOFError, zlib.error) as error:
        raise ContractBroken(f"not a gzip file: {error}") from error
    if not payload:
        raise ContractBroken("it has 0 bytes")  # gzip reads no bytes as a whole, empty file
    source = source or _written(payload)
    if not lines:
        return Rows(source, [])
    source = source or guess_source(lines)
    rows = shape_of(source).rows(lines)
    for line, row in enumerate(rows, 1):
        if row.wallet.lower() != wallet:
            raise ContractBroken(f"line {line}: a row of another wallet: {quoted(row.wallet)}")
        if not span.start <= row.timestamp < span.until:
            raise ContractBroken(f"line {line}: a row of another time: {row.timestamp}")
    return Rows(source, rows)


def within(rows: list[Trade], span: Interval) -> Iterator[Trade]:
    """The rows whose time lies in `span`."""
    return (row for row in rows if span.start <= row.timestamp < span.until)


def _written(payload: bytes) -> str | None:
    """The source in the gzip header; None if an older version wrote the segment."""
    if not payload.startswith(_HEADER):
        return None
    end = payload.find(b"\0", len(_HEADER), len(_HEADER) + _LONGEST_SOURCE + 1)
    return payload[len(_HEADER) : end].decode("latin-1") if end >= 0 else None
