"""What becomes of a wallet's record when it is rebuilt from a snapshot and the store. Pure."""

from typing import NamedTuple

import msgspec

from polycopy_assets.ledger.facts import Facts, kept_until, stored_until
from polycopy_assets.ledger.findings import classify, lost_coverage, lost_segments
from polycopy_assets.ledger.kinds import Adopt, FindingKind
from polycopy_assets.trades.interval import BEGINNING
from polycopy_assets.trades.wanted import DELETED


class Restored(NamedTuple):
    """What to do for a wallet.

    `keep`: write the snapshot's record. `rebuild`: write a record of what is stored, from these
    facts. `revoke`: write that the record was revoked, which covered the wallet until then. With
    none of them the wallet has no record.
    """

    keep: bool = False
    rebuild: Facts | None = None
    revoke: int | None = None


def restored(facts: Facts, now: int) -> Restored:
    """What to do for the wallet of `facts`, whose record is that of a snapshot; `now` as there.

    The store is newer. It may have got segments, and it may have united or replaced those that the
    snapshot names. Only what nothing in the store covers any more is lost. A purge may have been
    killed before a snapshot without the wallet was written: the wanted list says so.
    """
    record = facts.record
    if facts.retired in DELETED:
        known = record is not None or facts.revoked is not None
        return Restored(revoke=BEGINNING if known else None)
    if record is None:
        orphan = _orphan(facts, now)
        return Restored(rebuild=orphan, revoke=None if orphan else facts.revoked)
    lost = bool(lost_segments(record, facts.stored))
    if not lost and not lost_coverage(record, kept_until(facts)):
        return Restored(keep=True, rebuild=_orphan(facts, now))
    alone = msgspec.structs.replace(facts, record=None, revoked=None)
    if lost and (stored_until(facts) or 0) < record.covered_until:
        return Restored(revoke=record.covered_until)
    return Restored(rebuild=_orphan(alone, now))


def _orphan(facts: Facts, now: int) -> Facts | None:
    """The facts, if they say that the store covers more than the record."""
    found = classify(facts, adopt=Adopt.NEVER, now=now).finding
    return facts if found is FindingKind.ORPHAN else None
