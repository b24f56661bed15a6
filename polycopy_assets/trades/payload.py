"""The bytes of a segment: gzip JSON lines, with the source that served them in the gzip header."""

import io
import struct
import zlib
from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple, cast

from isal import igzip, isal_zlib

from polycopy_assets.errors import ContractBroken
from polycopy_assets.text import quoted
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.shapes import ServedRow, Shapes

# No time in the header: the same rows are the same bytes. 255: unknown operating system.
_HEADER = b"\x1f\x8b\x08" + bytes([0x10, 0, 0, 0, 0, 0, 255])
"""The fixed part of a gzip header whose only optional field is a comment."""

_LONGEST_SOURCE = 64
_UNPACKED = 1 << 20

BLOCK_BYTES = 512 * 1024
"""Bytes of JSON lines that are read at a time: about 700 rows, which fit into a processor's cache.
Reading a whole segment at once takes twice the time."""

LONGEST_LINE = 16 * 2**20
"""Bytes; a row comes from an answer of at most 8 MiB."""

_NOT_GZIP = (OSError, EOFError, zlib.error, cast("type[Exception]", isal_zlib.error))
_TIME = attrgetter("timestamp")
_WALLET = attrgetter("wallet")


class Packer:
    """Compresses the lines of one segment, which `source` served.

    ISA-L takes a fifth of zlib's time for it, and the result is smaller: ordinary gzip.

    The source is the comment in the gzip header: copies of the file keep it, and gzip readers skip
    it, except for a few that refuse a header with a comment.
    """

    def __init__(self, source: str) -> None:
        self._zip = isal_zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._chunks = [_HEADER + source.encode("latin-1") + b"\0"]
        self._crc = 0
        self._length = 0
        self.size = len(self._chunks[0])

    def add(self, lines: bytes | memoryview) -> None:
        """Takes lines; then `size` is the number of compressed bytes so far.

        Better many than few: what they are compressed to is put out each time, at the cost of some
        bytes. Otherwise a segment would grow by 200 KB of rows without its size showing it.
        """
        self._crc = isal_zlib.crc32(lines, self._crc)
        self._length += len(lines)
        self._keep(self._zip.compress(lines) + self._zip.flush(isal_zlib.Z_SYNC_FLUSH))

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
    `lines` are the same rows as served, one JSON object a line.
    """

    source: str | None
    rows: list[ServedRow]
    lines: bytes


def read_payload(
    payload: bytes, wallet: str, span: Interval, shapes: Shapes, source: str | None = None
) -> Rows:
    """The rows of a segment of `wallet` that covers `span`, read by the `shapes` of its feed.

    `source` is the source that served them, if a record says so. Raises ContractBroken for what
    cannot be such a segment: not gzip, a line that is not a row of that source, a row of another
    wallet or of another time, rows that are not newest first.
    """
    reader = Reader(payload, wallet, span, shapes, source)
    blocks = list(unpack(payload))
    rows = [row for lines in blocks for row in reader.rows(lines)]
    return Rows(reader.source, rows, b"".join(blocks))


class Reader:
    """Reads a segment of `wallet` that covers `span`, one block of lines after another.

    `shapes` are those of its feed; `source` is the source that served the rows. If no record says
    it and the file does not name it, the first block tells.
    """

    def __init__(
        self, payload: bytes, wallet: str, span: Interval, shapes: Shapes, source: str | None
    ) -> None:
        self.source = source or _written(payload)
        self._shapes = shapes
        self._wallet = wallet
        self._span = span
        self._lines = 0
        self._oldest = span.until

    def rows(self, lines: bytes) -> list[ServedRow]:
        """The rows of the next block, in the order in which they were served.

        Raises ContractBroken for what cannot belong to such a segment.
        """
        self.source = self.source or self._shapes.guess(lines)
        rows = self._shapes.of(self.source).rows(lines, self._lines + 1)
        times = list(map(_TIME, rows))
        wallets = set(map(_WALLET, rows))
        if any(each.lower() != self._wallet for each in wallets) or not self._ordered(times):
            self._refuse(rows)
        if times:
            self._oldest = times[-1]
        self._lines += len(rows)
        return rows

    def _ordered(self, times: list[int]) -> bool:
        """Whether the times lie in the span, none newer than the one before."""
        if not times:
            return True
        newest_first = times[0] <= self._oldest and times == sorted(times, reverse=True)
        return newest_first and self._span.start <= times[-1] and times[0] < self._span.until

    def _refuse(self, rows: list[ServedRow]) -> None:
        oldest = self._oldest
        for line, row in enumerate(rows, self._lines + 1):
            if row.wallet.lower() != self._wallet:
                raise ContractBroken(f"line {line}: a row of another wallet: {quoted(row.wallet)}")
            if not self._span.start <= row.timestamp < self._span.until:
                raise ContractBroken(f"line {line}: a row of another time: {row.timestamp}")
            if row.timestamp > oldest:
                raise ContractBroken(
                    f"line {line}: not newest first: {row.timestamp} after {oldest}"
                )
            oldest = row.timestamp


def unpack(payload: bytes) -> Iterator[bytes]:
    """The lines of a segment, in blocks of whole lines of about `BLOCK_BYTES`.

    Raises ContractBroken if it is not a gzip file, or not one of lines. The file may have many
    members.
    """
    if not payload:
        raise ContractBroken("it has 0 bytes")  # gzip reads no bytes as a whole, empty file
    begun: list[bytes] = []  # a line whose end is not read yet
    try:
        with igzip.IGzipFile(fileobj=io.BytesIO(payload)) as file:
            while block := file.read(BLOCK_BYTES):
                end = block.rfind(b"\n") + 1
                if end:
                    yield b"".join((*begun, memoryview(block)[:end]))
                    begun = []
                begun.append(block[end:])
                if len(begun) * BLOCK_BYTES > LONGEST_LINE:
                    raise ContractBroken(f"a line of more than {LONGEST_LINE} bytes")
    except _NOT_GZIP as error:
        raise ContractBroken(f"not a gzip file: {error}") from error
    if any(begun):
        yield b"".join(begun)


def within(rows: list[ServedRow], span: Interval) -> Iterator[ServedRow]:
    """The rows whose time lies in `span`."""
    return (row for row in rows if span.start <= row.timestamp < span.until)


def lines_in(payload: bytes) -> Iterator[bytes]:
    """The unpacked lines of a segment, in pieces of at most `_UNPACKED` bytes.

    Raises ContractBroken if it is not gzip, or ends early.
    """
    left = payload
    try:
        while left:
            member = zlib.decompressobj(16 + zlib.MAX_WBITS)
            while not member.eof:
                lines = member.decompress(left, _UNPACKED)
                left = member.unconsumed_tail
                if not lines and not left and not member.eof:
                    raise ContractBroken("a gzip file that ends early")
                yield lines
            left = member.unused_data
    except zlib.error as error:
        raise ContractBroken(f"not a gzip file: {error}") from error


def source_of(payload: bytes, shapes: Shapes) -> str:
    """The source that served a segment with rows: from its header, or guessed from its first row.

    Raises ContractBroken if it cannot be known.
    """
    return _written(payload) or shapes.guess(next(lines_in(payload), b""))


def _written(payload: bytes) -> str | None:
    """The source in the gzip header; None if an older version wrote the segment."""
    if not payload.startswith(_HEADER):
        return None
    end = payload.find(b"\0", len(_HEADER), len(_HEADER) + _LONGEST_SOURCE + 1)
    return payload[len(_HEADER) : end].decode("latin-1") if end >= 0 else None
