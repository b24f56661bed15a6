"""Segments that are in the store and in no record: read, to learn what a record would say."""

import uuid

from polycopy_assets.errors import ContractBroken, ObjectDamaged, ObjectExists, ObjectLost
from polycopy_assets.store.base import Store, crc32c
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.payload import read_payload, within
from polycopy_assets.trades.segment import Segment, segment_name

QUARANTINE = "quarantine/"
"""Where damaged segments are kept, for people; nothing reads from there."""


def set_aside(store: Store, name: str) -> None:
    """Copies a damaged object to the quarantine, and removes it; no error if it is gone."""
    try:
        data = store.read(name)
    except ObjectLost:
        return
    kept = f"{QUARANTINE}{name}.{crc32c(data)}"
    try:
        store.create(kept, data)
    except (ObjectExists, ObjectDamaged):
        # The quarantine can be damaged like anything else; it must not keep the original in place.
        store.create(f"{kept}-{uuid.uuid4().hex[:8]}", data)
    store.delete(name)


def read_segment(store: Store, wallet: str, span: Interval, claim: Interval) -> Segment:
    """The stored segment of `wallet` that covers `span`, as far as it answers for `claim`.

    Raises ObjectLost if it is not there, or cannot be a segment of that wallet and span.
    """
    name = segment_name(wallet, span)
    data = store.read(name)
    try:
        found = read_payload(data, wallet, span)
    except ContractBroken as error:
        raise ObjectLost(f"{name} is damaged: {error}") from error
    times = [row.timestamp for row in within(found.rows, claim)]
    return Segment(
        wallet=wallet,
        start=span.start,
        until=span.until,
        rows=len(times),
        size=len(data),
        crc32c=crc32c(data),
        first=min(times, default=None),
        last=max(times, default=None),
        claim_start=None if claim == span else claim.start,
        source=found.source,
    )
