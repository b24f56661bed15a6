"""Facts: what each ledger says of a wallet, as plain data. Whoever reads the ledgers fills it."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from polycopy_assets.trades.horizon import Horizon, beyond
from polycopy_assets.trades.interval import BEGINNING, Interval, union
from polycopy_assets.trades.segment import Segment


class Checkpoint(NamedTuple):
    """A row of the old job's ledger, as it stands there."""

    wallet_address: str | None
    completed: bool | None
    processed_at: datetime | None
    trade_count: int | None
    gcs_file: str | None
    upload_successful: bool | None


class Tally(NamedTuple):
    """A wallet's rows in the table, its address in any case.

    `inside` are those within its claims, `ours` those of them that we loaded: they have a source,
    and the address in lower case. `misspelled` are all those with the address in another case.
    """

    rows: int = 0
    inside: int = 0
    ours: int = 0
    misspelled: int = 0


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What the wallet's latest record says; `problem` if it cannot be a record of ours.

    `version` is its data version. `horizon` is how far the source could be asked, if the record
    tells. `behind` is set if it was taken over from an old file, and trades
    are known behind it.
    """

    version: str = ""
    rows: int
    segments: tuple[Segment, ...]
    covered_until: int
    behind: int = 0
    horizon: Horizon | None = None
    problem: str = ""


class StoredSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A segment as the store lists it; the checksum where the listing or a reading tells it."""

    span: Interval
    size: int
    crc32c: str | None = None


class OldFile(msgspec.Struct, frozen=True, kw_only=True):
    """The old job's file of a wallet; `rows` is None as long as nobody has read it.

    `problem` says which line is no trade of the wallet; `last` is the newest trade, epoch seconds.
    """

    name: str
    size: int
    rows: int | None = None
    last: int | None = None
    problem: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one wallet.

    `taken_back` tells that it had a record whose data was lost, and is not fetched again yet: until
    when that record covered it. `stored` are the segments that count; `replaced` those that a full
    refetch has replaced, and has not removed yet; `refetching` says that one has not ended, and
    `marker_damaged` why its marker cannot be followed. `pending` says why the table has not been
    loaded with what is recorded; empty if it has. `unreadable` are recorded segments that are
    there and cannot be combined, by name, and why.
    `horizon` is until when (epoch seconds) recorded coverage can be believed, and `now` until when
    any can: a fetch that was killed may have stored more than any record has noted.
    `unclaimed` are rows in the table that we loaded, of a wallet that no ledger and no batch knows.
    `ticks` are the checkpoint's rows of the wallet; `ticked_here` tells whether there is a
    checkpoint at all that the wallet could be ticked off in.
    """

    wallet: str
    wanted: bool = False
    registered: bool = False
    record: Recorded | None = None
    taken_back: int | None = None
    stored: tuple[StoredSegment, ...] = ()
    replaced: tuple[StoredSegment, ...] = ()
    refetching: str = ""
    marker_damaged: str = ""
    pending: str = ""
    unreadable: Mapping[str, str] = {}
    horizon: int | None = None
    now: int | None = None
    old_files: tuple[OldFile, ...] = ()
    ticks: tuple[Checkpoint, ...] = ()
    ticked_here: bool = False
    tally: Tally = Tally()
    unclaimed: int = 0


def whole_until(spans: Iterable[Interval]) -> int | None:
    """Until when `spans` cover everything from the beginning; None if there is any gap."""
    joined = union(spans)
    if len(joined) != 1 or joined[0].start != BEGINNING:
        return None
    return joined[0].until


def doubtful(facts: Facts) -> list[Interval]:
    """The stored segments that reach further than the source could be asked."""
    recorded = {segment.span for segment in facts.record.segments} if facts.record else set()
    spans = (item.span for item in facts.stored)
    limits = ((span, facts.horizon if span in recorded else facts.now) for span in spans)
    return [span for span, limit in limits if limit is not None and beyond(span.until, limit)]


def claimed_until(facts: Facts) -> int:
    """Until when the table's rows of the wallet are to be exactly the store's; epoch seconds."""
    stored = whole_until(item.span for item in facts.stored)
    recorded = facts.record.covered_until if facts.record else BEGINNING
    return max(recorded, stored or BEGINNING)
