"""Segments: immutable files of rows whose names say what they cover.

Two classes describe a segment: `Segment`, if its rows are known, and `StoredSegment`, as the store
lists it. A `Draft` (`cutter`) is a segment before it has a name. A `Claim` (`batch`) is a batch's
statement about a segment, and part of the manifest's format.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Self

import msgspec

from polycopy_assets.trades.cutter import Draft
from polycopy_assets.trades.digest import as_text, of_text, total
from polycopy_assets.trades.interval import BEGINNING, Interval, leading, union
from polycopy_assets.trades.names import Names, segment_name

LATEST = 10**10
"""The first second that does not fit into a segment's name, in 2286; times in ms are greater."""

_VERSION = re.compile(r"rows-([0-9]+)-[0-9a-f]{16}")


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Every row of a feed that the source served for `wallet` with start <= timestamp < until.

    `folder` is where the segments of that feed lie (`Names.segments`). `size` is bytes of the gzip
    file, `crc32c` its checksum as eight hex digits. Where an earlier segment overlaps this one,
    `claim_start` is the second from which this one counts. `rows`, `first` and `last` (oldest and
    newest row, epoch seconds, None if empty) are of that claim. `source` is the source that served
    the rows, if known.

    `digest` is the digest of the rows of that claim (`trades.digest`, sixteen hex digits); None
    without rows, or if an older version wrote the record, which had no digests.
    """

    folder: str
    wallet: str
    start: int
    until: int
    rows: int
    size: int
    crc32c: str
    first: int | None = None
    last: int | None = None
    claim_start: int | None = None
    source: str | None = None
    digest: str | None = None

    @classmethod
    def of_draft(cls, wallet: str, draft: Draft, source: str, crc32c: str, *, folder: str) -> Self:
        """The segment that a draft has become; `crc32c` is the checksum of its payload."""
        return cls(
            folder=folder,
            wallet=wallet,
            start=draft.span.start,
            until=draft.span.until,
            rows=draft.rows,
            size=len(draft.payload),
            crc32c=crc32c,
            first=draft.first,
            last=draft.last,
            source=source,
            digest=as_text(draft.digest) if draft.rows else None,
        )

    @classmethod
    def of_claim(
        cls,
        wallet: str,
        span: Interval,
        claim: Interval,
        *,
        folder: str,
        rows: int,
        size: int,
        crc32c: str,
        first: int | None,
        last: int | None,
        source: str | None,
        digest: str | None,
    ) -> Self:
        """The segment that covers `span`, restricted to `claim`."""
        return cls(
            folder=folder,
            wallet=wallet,
            start=span.start,
            until=span.until,
            rows=rows,
            size=size,
            crc32c=crc32c,
            first=first,
            last=last,
            claim_start=None if claim == span else claim.start,
            source=source,
            digest=digest,
        )

    @classmethod
    def of_row(cls, wallet: str, row: Mapping[str, object], *, folder: str) -> Self:
        """The segment that a row of a record describes; raises msgspec.ValidationError."""
        return msgspec.convert({"wallet": wallet, **row, "folder": folder}, cls)

    @property
    def name(self) -> str:
        """The object's name in the store."""
        return segment_name(self.folder, self.wallet, self.span)

    @property
    def share(self) -> int:
        """What the segment adds to its wallet's digest.

        A segment without a digest has rows that were never hashed: its name and checksum stand for
        them, so that an upgrade need not read every segment.
        """
        return rows_digest(
            self.name, self.claim.start, self.rows, crc32c=self.crc32c, digest=self.digest
        )

    @property
    def span(self) -> Interval:
        """What the file covers."""
        return Interval(self.start, self.until)

    @property
    def claim(self) -> Interval:
        """The part of the segment's span that counts."""
        start = self.start if self.claim_start is None else self.claim_start
        return Interval(start, self.until)


class StoredSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A segment as the store lists it; the checksum if the listing or a read gives it."""

    span: Interval
    size: int
    crc32c: str | None = None

    @classmethod
    def listed(
        cls, names: Names, name: str, size: int, crc32c: str | None
    ) -> tuple[str, Self] | None:
        """The wallet and segment by an object's name; None if it is not a segment's name."""
        named = names.parse_segment(name)
        return (named[0], cls(span=named[1], size=size, crc32c=crc32c)) if named else None

    def is_as_described(self, segment: Segment) -> bool:
        """Whether size and checksum, where it is known, are those of `segment`."""
        return self.size == segment.size and self.crc32c in {None, segment.crc32c}


def is_whole(segments: Iterable[Segment], covered_until: int) -> bool:
    """Whether a wallet can be covered until then (epoch seconds) with exactly these segments.

    They have no gap from the beginning; there may be time without trades behind the last.
    """
    spans = union(segment.span for segment in segments)
    end = leading(spans)
    return len(spans) <= 1 and bool(spans) == (end > BEGINNING) and end <= covered_until > BEGINNING


def rows_digest(name: str, start: int, rows: int, *, crc32c: str, digest: str | None) -> int:
    """The digest of the rows of segment `name` from second `start` on; see `Segment.share`."""
    if not rows:
        return 0
    return int(digest, 16) if digest else of_text(f"{name} {start} {rows} {crc32c}")


def data_version(segments: Iterable[Segment]) -> str:
    """`rows-{count}-{digest}` over all trades, however they are cut into segments."""
    every = list(segments)
    return version_of(sum(s.rows for s in every), total(s.share for s in every))


def version_of(rows: int, digest: int) -> str:
    """The data version of `rows` trades with that digest."""
    return f"rows-{rows}-{as_text(digest)}"


def rows_in_version(version: str) -> int | None:
    """The row count that a data version carries; None if the version is not one of ours."""
    found = _VERSION.fullmatch(version)
    return int(found[1]) if found else None


def record_digest(versions: Mapping[str, str]) -> str:
    """Names one state of the record: it differs as soon as any wallet's version does."""
    text = "\n".join(f"{wallet} {version}" for wallet, version in sorted(versions.items()))
    return sha256(text.encode()).hexdigest()[:16]


def recorded_rows(versions: Mapping[str, str]) -> dict[str, int]:
    """The recorded row count of each wallet."""
    return {wallet: rows_in_version(version) or 0 for wallet, version in versions.items()}
