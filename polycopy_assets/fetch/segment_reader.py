"""Reads segments that are in the store but not recorded, to find out what a record would say."""

from polycopy_assets.errors import ContractBroken, ObjectLost
from polycopy_assets.store.base import Store, crc32c
from polycopy_assets.trades.digest import as_text
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.payload import digest_within, read_payload, within
from polycopy_assets.trades.segment import Segment, segment_name


def read_segment(store: Store, wallet: str, span: Interval, claim: Interval) -> Segment:
    """The stored segment of `wallet` that covers `span`, restricted to `claim`.

    Raises ObjectLost if it is not there, or cannot be a segment of that wallet and span.
    """
    name = segment_name(wallet, span)
    data = store.read(name)
    try:
        found = read_payload(data, wallet, span)
    except ContractBroken as error:
        raise ObjectLost(name, f"is damaged: {error}") from error
    times = [row.timestamp for row in within(found.rows, claim)]
    return Segment.of_claim(
        wallet,
        span,
        claim,
        rows=len(times),
        size=len(data),
        crc32c=crc32c(data),
        first=min(times, default=None),
        last=max(times, default=None),
        digest=as_text(digest_within(found, claim)) if times else None,
        source=found.source,
    )
