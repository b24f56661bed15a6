"""Facts: what each ledger says about a wallet, as plain data, filled in by the ledgers' readers."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from polycopy_assets.trades.horizon import Horizon, beyond
from polycopy_assets.trades.interval import BEGINNING, Interval, leading, union
from polycopy_assets.trades.segment import Segment, StoredSegment
from polycopy_assets.trades.wanted import State


class Checkpoint(NamedTuple):
    """A row of the old job's ledger, unchanged."""

    wallet_address: str | None
    completed: bool | None
    processed_at: datetime | None
    trade_count: int | None
    gcs_file: str | None
    upload_successful: bool | None


class Tally(NamedTuple):
    """A wallet's rows in the table, whatever the case of the address.

    `inside` counts those within its claims, `ours` those of them that we loaded: they have a
    source, and the address in lower case. `mixed_case` counts all rows with the address in another
    case.
    """

    rows: int = 0
    inside: int = 0
    ours: int = 0
    mixed_case: int = 0


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What the wallet's latest record says; `problem` if it is not a valid one.

    `version` is its data version. `horizon` is the horizon of its last fetch, if the record says.
    `newer` is for a wallet adopted from an old file: how many known trades are newer than the
    adopted ones.
    """

    version: str = ""
    rows: int
    segments: tuple[Segment, ...]
    covered_until: int
    newer: int = 0
    horizon: Horizon | None = None
    problem: str = ""


class OldFile(msgspec.Struct, frozen=True, kw_only=True):
    """The old job's file of a wallet; `rows` is None until it is read.

    `problem` says which line is not a trade of the wallet; `last` is the newest trade, epoch
    seconds.
    """

    name: str
    size: int
    rows: int | None = None
    last: int | None = None
    problem: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about one wallet.

    `unlisted` says that the store's list wants it, but `traders` has no row of it; `retired` is set
    if that list says that it was removed. `revoked` is set if its record was revoked because data
    was lost, and it has not been fetched again: the time until which that record covered it.
    `stored` are the segments that count, and
    `covered` is the time without trades that a coverage object states; `replaced` are the segments
    that a full refetch has replaced but not removed yet. `refetching` says that a full refetch has
    not ended, and `marker_damaged` why its marker cannot be used. `pending` says
    why what is recorded has not been loaded into the table; empty if it has. `unreadable` maps each
    recorded segment that is there but cannot be combined to the reason. `horizon` is the time
    (epoch seconds) until which recorded coverage can be believed, and `now` the same for any
    coverage: a killed fetch may have stored more than any record says. `unclaimed` are rows in the
    table that we loaded, of a wallet that no ledger and no batch knows. `ticks` are the
    checkpoint's rows of the wallet; `has_checkpoint` says whether there is a checkpoint at all.
    """

    wallet: str
    wanted: bool = False
    unlisted: bool = False
    retired: State | None = None
    registered: bool = False
    record: Recorded | None = None
    revoked: int | None = None
    stored: tuple[StoredSegment, ...] = ()
    covered: Interval | None = None
    replaced: tuple[StoredSegment, ...] = ()
    refetching: str = ""
    marker_damaged: str = ""
    pending: str = ""
    unreadable: Mapping[str, str] = {}
    horizon: int | None = None
    now: int | None = None
    old_files: tuple[OldFile, ...] = ()
    ticks: tuple[Checkpoint, ...] = ()
    has_checkpoint: bool = False
    tally: Tally = Tally()
    unclaimed: int = 0
    row: str = "trade"
    rows: str = "trades"


def whole_until(spans: Iterable[Interval]) -> int | None:
    """Until when `spans` cover everything from the beginning; None if there is any gap."""
    joined = union(spans)
    if len(joined) != 1 or joined[0].start != BEGINNING:
        return None
    return joined[0].until


def doubtful(facts: Facts) -> list[Interval]:
    """The stored segments that end after the time that the source can have served."""
    recorded = {segment.span for segment in facts.record.segments} if facts.record else set()
    spans = (item.span for item in facts.stored)
    limits = ((span, facts.horizon if span in recorded else facts.now) for span in spans)
    return [span for span, limit in limits if limit is not None and beyond(span.until, limit)]


def doubtful_coverage(facts: Facts) -> bool:
    """Whether the time without trades ends after the time that the source can have served."""
    limit = facts.horizon if facts.record else facts.now
    return bool(facts.covered and limit is not None and beyond(facts.covered.until, limit))


def claimed_until(facts: Facts) -> int:
    """The time (epoch seconds) until which the table must hold exactly the store's rows."""
    recorded = facts.record.covered_until if facts.record else BEGINNING
    return max(recorded, stored_until(facts) or BEGINNING)


def stored_until(facts: Facts) -> int | None:
    """Until when the store covers everything from the beginning; None if there is any gap."""
    spans = [item.span for item in facts.stored]
    return whole_until([*spans, facts.covered] if facts.covered else spans)


def kept_until(facts: Facts) -> int:
    """Until when the store covers everything, before the first gap.

    With the segments that a full refetch has replaced but not removed yet.
    """
    spans = [item.span for item in (*facts.stored, *facts.replaced)]
    return leading([*spans, facts.covered] if facts.covered else spans)
