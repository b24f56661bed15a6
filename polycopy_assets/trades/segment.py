"""Segments: immutable files of trades whose names say what they cover."""

import hashlib
import re
from collections.abc import Iterable

import msgspec

from polycopy_assets.trades.interval import BEGINNING, Interval, subtract
from polycopy_assets.trades.wallet import parse_wallet

PREFIX = "trades/"
_NAME = re.compile(r"trades/(0x[0-9a-f]{40})/([0-9]{10})-([0-9]{10})\.jsonl\.gz")
_VERSION = re.compile(r"rows-([0-9]+)-[0-9a-f]{16}")


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Every trade that the source served for `wallet` with start <= timestamp < until.

    `size` is bytes of the gzip file, `crc32c` its checksum as eight hex digits. Where an older
    segment reaches into this one, `claim_start` says from when on this one counts. `rows`,
    `first` and `last` (oldest and newest trade, epoch seconds, None if empty) are of that claim.
    `source` is who served the rows, where that is known.
    """

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

    @property
    def name(self) -> str:
        """The object's name in the store."""
        return segment_name(self.wallet, self.span)

    @property
    def span(self) -> Interval:
        """What the file covers."""
        return Interval(self.start, self.until)

    @property
    def claim(self) -> Interval:
        """The part of its span that the segment answers for."""
        start = self.start if self.claim_start is None else self.claim_start
        return Interval(start, self.until)


def wallet_prefix(wallet: str) -> str:
    """Where all segments of `wallet` lie in the store."""
    return f"{PREFIX}{parse_wallet(wallet)}/"


def segment_name(wallet: str, span: Interval) -> str:
    """`trades/{wallet}/{from}-{until}.jsonl.gz`, ten digits each."""
    return f"{wallet_prefix(wallet)}{span.start:010d}-{span.until:010d}.jsonl.gz"


def parse_name(name: str) -> tuple[str, Interval] | None:
    """The wallet and interval that an object's name tells; None if it is no segment's name."""
    found = _NAME.fullmatch(name)
    if not found:
        return None
    span = Interval(int(found[2]), int(found[3]))
    return (found[1], span) if span.start < span.until else None


def coverage(segments: Iterable[Segment]) -> int | None:
    """Until when (epoch seconds) coverage reaches without a gap from the beginning."""
    spans = [segment.span for segment in segments]
    if not spans:
        return None
    end = max(span.until for span in spans)
    return None if subtract(Interval(BEGINNING, end), spans) else end


def data_version(segments: Iterable[Segment]) -> str:
    """`rows-{count}-{hash}` over the segments that hold trades.

    Empty segments do not count: a refresh that found nothing changes nothing downstream.
    """
    filled = sorted((s for s in segments if s.rows), key=lambda s: s.name)
    digest = hashlib.sha256()
    for segment in filled:
        digest.update(
            f"{segment.name} {segment.claim.start} {segment.rows} {segment.crc32c}\n".encode()
        )
    return f"rows-{sum(s.rows for s in filled)}-{digest.hexdigest()[:16]}"


def rows_in_version(version: str) -> int | None:
    """The row count that a data version carries; None if the version is not one of ours."""
    found = _VERSION.fullmatch(version)
    return int(found[1]) if found else None
