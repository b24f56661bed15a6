"""Coverage without rows: until when a wallet was asked for rows that were not there.

A refresh that finds nothing for a wallet writes no segment. What it found out is a line of a
coverage object, which speaks for many wallets. A wallet has one such interval, behind its last
segment; the latest statement counts, whatever earlier ones say.
"""

import gzip
import zlib
from collections.abc import Iterable

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.trades.interval import BEGINNING, Interval
from polycopy_assets.trades.segment import LATEST
from polycopy_assets.trades.wallet import ADDRESS


class Covered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The source had no row of `wallet` with start <= timestamp < until, epoch seconds.

    With `until` 0 it says that no earlier statement about the wallet counts any more. `at` is the
    source's clock when it was asked.
    """

    wallet: str
    start: int
    until: int
    at: int = 0

    @property
    def span(self) -> Interval:
        """The interval without rows."""
        return Interval(self.start, self.until)

    @property
    def is_valid(self) -> bool:
        """Whether it can have been written by us."""
        known = BEGINNING <= self.start < self.until < LATEST
        return bool(ADDRESS.fullmatch(self.wallet)) and (known or self.span == NOTHING)


NOTHING = Interval(BEGINNING, BEGINNING)


def extended(covered_until: int, stated: Interval | None) -> int:
    """Until when a wallet is covered whose record says `covered_until`, both epoch seconds.

    A refresh without news leaves the record as it is, and only states the time without trades.
    """
    if stated is None or stated.start > covered_until:
        return covered_until
    return max(covered_until, stated.until)


def pack(statements: Iterable[Covered]) -> bytes:
    """A coverage object: gzip, one JSON array a line."""
    lines = msgspec.json.Encoder().encode_lines(list(statements))
    return gzip.compress(lines, compresslevel=6, mtime=0)


def unpack(data: bytes) -> list[Covered]:
    """The statements of a coverage object; raises ContractBroken if it is none."""
    try:
        found = msgspec.json.Decoder(Covered).decode_lines(gzip.decompress(data))
    except (OSError, EOFError, zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContractBroken(str(error)) from error
    wrong = next((item for item in found if not item.is_valid), None)
    if not data or wrong:
        raise ContractBroken(f"no such coverage: {wrong}" if wrong else "it has 0 bytes")
    return found
