"""Findings: each wallet gets exactly one, and each finding asks for one action."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, get_args

import msgspec

from polycopy_assets.ledger.evidence import (
    Believed,
    Empty,
    Evidence,
    Refuted,
    Unread,
    as_text,
    evidence,
    ticked_off,
)
from polycopy_assets.ledger.facts import Facts, Recorded, StoredSegment, doubtful, whole_until
from polycopy_assets.trades.old_job import CHECKPOINT


class Kind(NamedTuple):
    """A kind of finding: what is done about it, and what it says."""

    action: str
    meaning: str


KINDS = {
    "ghost": Kind("refetch", "recorded, but its data is gone, damaged or cannot be read"),
    "ahead": Kind("refetch", "covers time that the source could not have served yet"),
    "orphan": Kind("record", "covered in the store, but not recorded"),
    "adoptable": Kind("adopt", "the old job has it, and its file bears that out"),
    "false_complete": Kind("fetch", "the old job ticked it off, but the evidence fails"),
    "empty_complete": Kind("confirm", "the old job ticked it off as empty: one request tells"),
    "adopted": Kind("replace", "from the old job's file, and to be fetched from the source"),
    "behind": Kind("fetch", "from the old job's file, which has later trades that are not here"),
    "refetching": Kind("fetch", "a full refetch was begun and has not ended"),
    "unloaded": Kind("reload", "recorded and stored, but the table lacks rows"),
    "surplus": Kind("reload", "the table has rows that the store has not"),
    "unclaimed": Kind("delete", "rows that we loaded, of a wallet that nothing else knows"),
    "unregistered": Kind("register", "known to a ledger, but no partition"),
    "unexported": Kind("export", "complete, and the old job's checkpoint does not say so"),
    "remaining": Kind("backfill", "wanted, and not there yet"),
    "consistent": Kind("none", "all ledgers agree"),
}
"""The findings, in the order in which people should look at them."""

SETTLED = frozenset({"consistent", "remaining"})
"""Findings that ask nothing of a reconciliation."""

Policy = Literal["verified", "never", "refetch"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
"""What `adopt` may be: believe old files that are borne out; never; or only until refetched."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledgers come to for one wallet; `why` names the evidence."""

    wallet: str
    finding: str
    action: str
    why: str = ""


def classify(facts: Facts, *, adopt: str, now: int) -> Finding:
    """The finding for one wallet under policy `adopt`; `now` in epoch seconds.

    Old files that could decide must have been read (see `to_read`).
    """
    if facts.record is not None:
        name, why = next(_of_recorded(facts, facts.record, adopt))
    else:
        name, why = next(_of_unrecorded(facts, adopt, now))
    return Finding(wallet=facts.wallet, finding=name, action=KINDS[name].action, why=why)


def to_read(facts: Facts, *, adopt: str, now: int) -> str | None:
    """The old file that has to be read before the wallet can be classified, if there is one."""
    decided = facts.record is not None or facts.taken_back is not None or _whole(facts)
    if adopt == "never" or decided or not ticked_off(facts):
        return None
    found = evidence(facts, now)
    return found.file.name if isinstance(found, Unread) else None


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """How many wallets have each finding; findings that nobody has are left out."""
    counted = Counter(item.finding for item in findings)
    return {name: counted[name] for name in KINDS if counted[name]}


def table_differs(facts: Facts, rows: int) -> str:
    """How the table differs from the `rows` that the store holds; empty if it does not."""
    inside, ours = facts.tally.inside, facts.tally.ours
    if ours < rows:
        return f"{rows} trades in the store, {ours} of them in the table"
    if inside > rows:
        return f"{rows} trades in the store, {inside} rows in the table"
    return ""


def lost_segments(record: Recorded, stored: Iterable[StoredSegment]) -> dict[str, str]:
    """The recorded segments that the store does not hold as recorded, by name, and why."""
    there = {item.span: item for item in stored}
    lost: dict[str, str] = {}
    for segment in record.segments:
        found = there.get(segment.span)
        if found is None:
            lost[segment.name] = "is gone"
        elif found.size != segment.size:
            lost[segment.name] = f"has {found.size} bytes, its record says {segment.size}"
        elif found.crc32c not in {None, segment.crc32c}:
            lost[segment.name] = "has another checksum than its record says"
    return lost


def _of_recorded(facts: Facts, record: Recorded, adopt: str) -> Iterator[tuple[str, str]]:
    """The findings for a recorded wallet, the gravest first."""
    if record.problem:
        yield "ghost", record.problem
    lost = {**facts.unreadable, **lost_segments(record, (*facts.stored, *facts.replaced))}
    if lost:
        name, why = next(iter(lost.items()))
        yield "ghost", f"{name} {why}" + (f", and {len(lost) - 1} more" if len(lost) > 1 else "")
    yield from _of_the_horizon(facts)
    if (_whole(facts) or 0) > record.covered_until:
        yield "orphan", "the store covers more than its record says"
    adopted = sum(segment.source == CHECKPOINT for segment in record.segments)
    if adopted and adopt == "refetch":
        yield "adopted", f"{adopted} segments come from the old job"
    if record.behind:
        yield "behind", f"{record.behind} trades are known behind what was taken over"
    yield from _of_refetch(facts)
    yield from _of_the_table(facts, record.rows)
    if not facts.registered:
        yield "unregistered", "it is recorded and no partition"
    if facts.ticked_here and not ticked_off(facts):
        yield "unexported", "the checkpoint does not say that it is complete"
    yield "consistent", ""


def _of_the_horizon(facts: Facts) -> Iterator[tuple[str, str]]:
    """The finding for a wallet whose coverage reaches further than the source can have served."""
    spans = doubtful(facts)
    if spans and facts.horizon is not None:
        reach, limit = (as_text(t) for t in (max(s.until for s in spans), facts.horizon))
        yield "ahead", f"covered until {reach}, and the source could be asked until {limit}"


def _of_refetch(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.marker_damaged or facts.refetching:
        yield "refetching", facts.marker_damaged or facts.refetching


def _of_the_table(facts: Facts, rows: int) -> Iterator[tuple[str, str]]:
    """The findings for a table that should hold `rows` of the wallet."""
    differs = table_differs(facts, rows)
    if differs and facts.tally.ours < rows:
        yield "unloaded", differs
    if facts.pending:
        yield "unloaded", facts.pending
    if differs:
        yield "surplus", differs


def _of_unrecorded(facts: Facts, adopt: str, now: int) -> Iterator[tuple[str, str]]:
    """The findings for a wallet without a record, the gravest first."""
    whole = _whole(facts)
    if facts.taken_back is not None and (not whole or whole < facts.taken_back):
        yield "ghost", "its record was taken back, and it is not fetched again yet"
    yield from _of_the_horizon(facts)
    if whole:
        yield "orphan", "the store covers it and nothing is recorded"
    if ticked_off(facts):
        yield from _of_ticked(evidence(facts, now), adopt)
    yield from _of_refetch(facts)
    if not facts.registered and (facts.ticks or facts.stored or facts.old_files):
        yield "unregistered", "it is known to the checkpoint or the store, and no partition"
    if facts.registered or facts.wanted:
        yield "remaining", "part of it is in the store" if facts.stored else ""
    if facts.unclaimed:
        yield "unclaimed", f"{facts.unclaimed} rows, and no record, no segment and no batch"
    yield "consistent", "rows in the table that nobody asked for"


def _of_ticked(found: Evidence, adopt: str) -> Iterator[tuple[str, str]]:
    """The finding for a wallet that the checkpoint ticked off and nobody has recorded.

    There is none where a file would have to be believed and the policy is never to.
    """
    match found:
        case Empty():
            yield "empty_complete", "ticked off with no trades"
        case Refuted(why):
            yield "false_complete", why
        case Believed(file) if adopt != "never":
            yield "adoptable", f"{file.name} has {file.rows} trades"
        case Unread(file) if adopt != "never":
            raise ValueError(f"{file.name} has to be read first")


def _whole(facts: Facts) -> int | None:
    return whole_until(item.span for item in facts.stored)
