"""A batch: the result of one combine, and what it claims in the table."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import msgspec

from polycopy_assets.trades.interval import Interval, union
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.segment import Segment, rows_digest

_NO_BYTES = "00000000"
"""The checksum of nothing."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of a batch: object name, rows, bytes, checksum (eight hex digits)."""

    name: str
    rows: int
    size: int
    crc32c: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A segment in the batch: its rows are all rows of its feed with start <= timestamp < until.

    `version` is the data version of the wallet's record that named the segment; empty if more
    segments of that record follow in the next batch. `first`, `last`, `source` and `digest` are the
    segment's.
    """

    segment: str
    wallet: str
    start: int
    until: int
    rows: int
    size: int
    crc32c: str
    version: str
    first: int | None = None
    last: int | None = None
    source: str | None = None
    digest: str | None = None

    @property
    def share(self) -> int:
        """What the claim adds to its wallet's digest, as `Segment.share`."""
        return rows_digest(
            self.segment, self.start, self.rows, crc32c=self.crc32c, digest=self.digest
        )


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The commit of a batch, written last: its parts and every segment they were made of.

    `claims_part` holds the claimed intervals as rows, for loaders that read nothing but Parquet.
    `schema` is the version of the parts' columns (each feed counts its own); 1 if it is missing. A
    batch of another version does not count as combined, so that its segments are combined again,
    with the feed's columns.

    A newer version adds fields to a manifest and removes none: that is how an older version
    distinguishes a newer manifest from a broken one.
    """

    batch: int
    rows: int
    parts: list[Part]
    claims: list[Claim]
    claims_part: Part | None = None
    schema: int = 1

    @property
    def files(self) -> list[Part]:
        """All Parquet files of the batch: its parts, and that of its claims."""
        return [*self.parts, *([self.claims_part] if self.claims_part else [])]

    def encode(self) -> bytes:
        """The manifest as JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def decode(data: bytes) -> "Manifest":
        """The manifest that `data` holds; raises msgspec.DecodeError."""
        return msgspec.json.decode(data, type=Manifest)


class Numbered(Protocol):
    """A batch as its number and the version of its parts' columns; a manifest is one."""

    @property
    def batch(self) -> int:
        """Its number."""
        ...

    @property
    def schema(self) -> int:
        """The version of the parts' columns."""
        ...


class Header(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A batch without its claims and parts: number, rows, version of the parts' columns."""

    batch: int
    rows: int
    schema: int


_Numbered = TypeVar("_Numbered", bound=Numbered)


def current(manifests: Iterable[_Numbered], schema: int) -> list[_Numbered]:
    """The batches whose parts have the columns of version `schema`, that of their feed.

    Of the others only the numbers count: their segments are combined again.
    """
    return [item for item in manifests if item.schema == schema]


def claim(segment: Segment, version: str) -> Claim:
    """The claim that a recorded segment makes."""
    return Claim(
        segment=segment.name,
        wallet=segment.wallet,
        start=segment.claim.start,
        until=segment.claim.until,
        rows=segment.rows,
        size=segment.size,
        crc32c=segment.crc32c,
        version=version,
        first=segment.first,
        last=segment.last,
        source=segment.source,
        digest=segment.digest,
    )


def empty_claim(names: Names, wallet: str, span: Interval, version: str) -> Claim:
    """The claim that there are no rows in `span`; no object has to have that segment's name."""
    return Claim(
        segment=names.segment(wallet, span),
        wallet=wallet,
        start=span.start,
        until=span.until,
        rows=0,
        size=0,
        crc32c=_NO_BYTES,
        version=version,
    )


def claimed_intervals(claims: Iterable[Claim]) -> list[tuple[str, Interval]]:
    """(wallet, interval) for everything claimed, touching intervals of a wallet joined."""
    spans: dict[str, list[Interval]] = {}
    for item in claims:
        spans.setdefault(item.wallet, []).append(Interval(item.start, item.until))
    return [(wallet, span) for wallet in sorted(spans) for span in union(spans[wallet])]


def in_batches(claims: Iterable[Claim], rows: int, number: int) -> Iterator[list[Claim]]:
    """Claims, sorted by wallet, in batches of about `rows` rows and at most `number` claims.

    A wallet that continues in the next batch is marked, so that it stays pending until its last
    claim is committed.
    """
    batch: list[Claim] = []
    size = 0
    for item in claims:
        if batch and (size + item.rows > rows or len(batch) >= number):
            yield [_unfinished(each) if each.wallet == item.wallet else each for each in batch]
            batch, size = [], 0
        batch.append(item)
        size += item.rows
    if batch:
        yield batch


def _unfinished(item: Claim) -> Claim:
    return msgspec.structs.replace(item, version="")
