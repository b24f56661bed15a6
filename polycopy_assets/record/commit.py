"""What a record says of its wallet's segments, in as few bytes as possible.

Dagster keeps every record for years, twice on SQLite: so it has no column names, and its numbers
are binary. It is one text, its parts separated by spaces: the number of this form, until when
(epoch seconds) the wallet is covered, and then a part for each segment, oldest first. Such a part
is 32 bytes as base64 without padding (`_SEGMENT`), and what is unusual about the segment behind it:

- `s=SECOND`: it starts there, and not where the one before ends (the first: at 0)
- `c=SECOND`: it counts only from there
- `d`: it has no digest
- `a=SOURCE`: its source, if it differs from that of the segment before; `a=` if it is unknown
"""

import base64
import binascii
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from polycopy_assets.errors import PolycopyError
from polycopy_assets.text import quoted
from polycopy_assets.trades.digest import as_text
from polycopy_assets.trades.interval import BEGINNING, Interval
from polycopy_assets.trades.segment import Segment

FORM = 2
"""The number of this form. 1 was a table with a row for each segment."""

_SEGMENT = struct.Struct(">IIIIIIQ")
"""Seconds from start to end, rows, bytes, checksum, seconds from where it counts to its first trade
and from its last trade to its end (both 0 without rows), digest (0 without one)."""

_ENCODED = 43
"""Characters of `_SEGMENT` as base64 without padding."""


class Commit(NamedTuple):
    """The segments of a wallet, oldest first, and until when (epoch seconds) it is covered."""

    segments: tuple[Segment, ...]
    covered_until: int


def encode(segments: Iterable[Segment], covered_until: int) -> str:
    """The text that stands for the segments."""
    return " ".join([f"{FORM} {covered_until}", *_parts(segments)])


def _parts(segments: Iterable[Segment]) -> Iterator[str]:
    end, source = BEGINNING, ""
    for item in segments:
        packed = _SEGMENT.pack(
            item.until - item.start,
            item.rows,
            item.size,
            int(item.crc32c, 16),
            0 if item.first is None else item.first - item.claim.start,
            0 if item.last is None else item.until - item.last,
            int(item.digest or "0", 16),
        )
        part = base64.b64encode(packed).decode().rstrip("=")
        if item.start != end:
            part += f",s={item.start}"
        if item.claim_start is not None:
            part += f",c={item.claim_start}"
        if item.rows and item.digest is None:
            part += ",d"
        if (item.source or "") != source:
            part += f",a={item.source or ''}"
        yield part
        end, source = item.until, item.source or ""


def decode(wallet: str, text: str, *, folder: str) -> Commit:
    """The segments of `wallet` that `text` stands for; raises PolycopyError if it is damaged.

    `folder` is where the segments of that feed lie: the asset whose record it is decides the feed.
    """
    try:
        form, until, *parts = text.split(" ")
        if int(form) > FORM:
            raise PolycopyError(f"was written by a newer version of polycopy (form {form})")
        if form == str(FORM):
            return Commit(tuple(_segments(wallet, parts, folder)), int(until))
    except (ValueError, binascii.Error, struct.error) as error:
        raise PolycopyError(f"is damaged: {quoted(str(error))}") from error
    raise PolycopyError(f"is damaged: {quoted(form)} is no form of a record")


def _segments(wallet: str, parts: Sequence[str], folder: str) -> Iterator[Segment]:
    end, source = BEGINNING, ""
    for part in parts:
        packed, *flags = part.split(",")
        if len(packed) != _ENCODED:
            raise ValueError(part)
        length, rows, size, crc32c, first, last, digest = _SEGMENT.unpack(
            base64.b64decode(f"{packed}=", validate=True)
        )
        unusual = {flag[:1]: flag[2:] for flag in flags}
        if unusual.keys() - {"s", "c", "d", "a"}:
            raise ValueError(part)
        start = int(unusual.get("s", end))
        span = Interval(start, start + length)
        claim = Interval(int(unusual.get("c", start)), span.until)
        source = unusual.get("a", source)
        yield Segment.of_claim(
            wallet,
            span,
            claim,
            folder=folder,
            rows=rows,
            size=size,
            crc32c=f"{crc32c:08x}",
            first=claim.start + first if rows else None,
            last=span.until - last if rows else None,
            source=source or None,
            digest=as_text(digest) if rows and "d" not in unusual else None,
        )
        end = span.until
