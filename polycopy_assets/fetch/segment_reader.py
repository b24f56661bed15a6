"""Reads segments that are in the store but not recorded, to find out what a record would say.

The lines are unpacked in blocks, so memory is bounded whatever the size of a segment.
"""

from collections.abc import Sequence

from polycopy_assets.errors import ContractBroken, ObjectLost
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.trades.digest import Digest, as_text
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.payload import Reader, unpack
from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.shapes import ServedRow


def read_segment(store: FeedStore, wallet: str, span: Interval, claim: Interval) -> Segment:
    """The stored segment of `wallet` that covers `span`, restricted to `claim`.

    Raises ObjectLost if it is not there, or cannot be a segment of that wallet and span.
    """
    name = store.names.segment(wallet, span)
    data = store.read(name)
    reader = Reader(data, wallet, span, store.feed.shapes, source=None)
    claimed = _Claimed(claim)
    try:
        for lines in unpack(data):
            claimed.add(reader.rows(lines), lines)
    except ContractBroken as error:
        raise ObjectLost(name, f"is damaged: {error}") from error
    return Segment.of_claim(
        wallet,
        span,
        claim,
        folder=store.names.segments,
        rows=claimed.rows,
        size=len(data),
        crc32c=crc32c(data),
        first=claimed.first,
        last=claimed.last,
        digest=as_text(claimed.digest.value) if claimed.rows else None,
        source=reader.source,
    )


class _Claimed:
    """What a record says about the rows of a segment inside `claim`.

    The rows come block by block, newest first.
    """

    def __init__(self, claim: Interval) -> None:
        self.rows = 0
        self.first: int | None = None
        self.last: int | None = None
        self.digest = Digest()
        self._claim = claim

    def add(self, rows: Sequence[ServedRow], lines: bytes) -> None:
        """Takes the next block: its rows, and the same rows as served, one JSON object a line."""
        if not rows:
            return
        served = lines.removesuffix(b"\n").split(b"\n")
        for row, line in zip(rows, served, strict=True):
            if self._claim.start <= row.timestamp < self._claim.until:
                self.rows += 1
                self.first = row.timestamp
                if self.last is None:
                    self.last = row.timestamp
                self.digest.add(row.timestamp, line + b"\n")
