"""Findings: each wallet gets exactly one, and each finding asks for one action."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import assert_never

import msgspec

from polycopy_assets.ledger.evidence import (
    Believed,
    Empty,
    Evidence,
    Refuted,
    Unread,
    as_text,
    evidence,
    marked_complete,
)
from polycopy_assets.ledger.facts import (
    Facts,
    Recorded,
    doubtful,
    doubtful_coverage,
    kept_until,
    stored_until,
    whole_until,
)
from polycopy_assets.ledger.kinds import Action, Adopt, FindingKind
from polycopy_assets.text import counted, first_few
from polycopy_assets.trades.segment import StoredSegment
from polycopy_assets.trades.shapes import CHECKPOINT
from polycopy_assets.trades.wanted import State

_UNLISTED = "the store's list wants it, but `traders` has no row of it"

Found = tuple[FindingKind, str]
"""A finding of a wallet, and the evidence for it."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of comparing the ledgers for one wallet; `why` names the evidence."""

    wallet: str
    finding: FindingKind
    action: Action
    why: str = ""


def classify(facts: Facts, *, adopt: Adopt, now: int) -> Finding:
    """The finding for one wallet under policy `adopt`; `now` in epoch seconds.

    Old files that could decide must have been read (see `to_read`).
    """
    if facts.record is not None:
        found = _of_recorded(facts, facts.record, adopt)
    else:
        found = _of_unrecorded(facts, adopt, now)
    kind, why = next(found if facts.retired is None else _of_retired(facts, facts.retired, found))
    return Finding(wallet=facts.wallet, finding=kind, action=kind.action, why=why)


def to_read(facts: Facts, *, adopt: Adopt, now: int) -> str | None:
    """The old file that has to be read before the wallet can be classified, if any."""
    decided = facts.record is not None or facts.revoked is not None or stored_until(facts)
    if adopt is Adopt.NEVER or decided or not marked_complete(facts):
        return None
    found = evidence(facts, now)
    return found.file.name if isinstance(found, Unread) else None


def count(findings: Iterable[Finding]) -> dict[FindingKind, int]:
    """How many wallets have each finding; findings that no wallet has are left out."""
    wallets = Counter(item.finding for item in findings)
    return {kind: wallets[kind] for kind in FindingKind if wallets[kind]}


def table_differs(facts: Facts, rows: int) -> str:
    """How the table differs from the `rows` that the store holds; empty if it does not."""
    inside, ours = facts.tally.inside, facts.tally.ours
    stored = f"{counted(rows, facts.row, facts.rows)} in the store"
    if ours < rows:
        return f"{stored}, {ours:,} of them in the table"
    if inside > rows:
        return f"{stored}, {counted(inside, 'row')} in the table"
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
            lost[segment.name] = (
                f"has {counted(found.size, 'byte')}, its record says {segment.size}"
            )
        elif found.crc32c not in {None, segment.crc32c}:
            lost[segment.name] = "has a different checksum than its record says"
    return lost


def lost_coverage(record: Recorded, kept: int, rows: str = "trades") -> str:
    """What is wrong if the store, which covers all until `kept`, covers less than recorded.

    `rows` is what people call the rows that are recorded.
    """
    if kept >= record.covered_until:
        return ""
    until = as_text(record.covered_until)
    return f"its record covers time without {rows} until {until}, which no coverage object says"


_KEPT_IN_ORDER = {
    FindingKind.ORPHAN,
    FindingKind.UNLOADED,
    FindingKind.SURPLUS,
}
"""What is settled of a removed wallet too, because its data stays: without a request."""


def _of_retired(facts: Facts, state: State, found: Iterable[Found]) -> Iterator[Found]:
    """The findings for a removed wallet: those of `found` that need nothing from the source.

    If a record has lost its data, it is revoked. While a wallet is being deleted, and after that,
    nothing is settled.
    """
    if state is State.REMOVED:
        for kind, why in found:
            revocable = kind is FindingKind.GHOST and facts.record is not None
            if kind in _KEPT_IN_ORDER or revocable:
                yield kind, why
    yield FindingKind.RETIRED, f"the store's list says: {state}"


def _of_recorded(facts: Facts, record: Recorded, adopt: Adopt) -> Iterator[Found]:
    """The findings for a recorded wallet, worst first."""
    if record.problem:
        yield FindingKind.GHOST, record.problem
    lost = {**facts.unreadable, **lost_segments(record, (*facts.stored, *facts.replaced))}
    if lost:
        yield FindingKind.GHOST, first_few((f"{name} {why}" for name, why in lost.items()), 1)
    if gone := lost_coverage(record, kept_until(facts), facts.rows):
        yield FindingKind.GHOST, gone
    yield from _of_the_horizon(facts)
    if (whole_until(item.span for item in facts.stored) or 0) > record.covered_until:
        yield FindingKind.ORPHAN, "the store covers more than its record says"
    adopted = sum(segment.source == CHECKPOINT for segment in record.segments)
    if adopted and adopt is Adopt.REFETCH:
        yield (
            FindingKind.ADOPTED,
            f"{counted(adopted, 'segment comes', 'segments come')} from the old job",
        )
    if record.newer:
        newer = counted(record.newer, "trade is", "trades are")
        yield (
            FindingKind.NEWER_THAN_FILE,
            f"{newer} newer than what was taken over from the old job's file",
        )
    yield from _of_refetch(facts)
    yield from _of_the_table(facts, record.rows)
    if not facts.registered:
        yield FindingKind.UNREGISTERED, "it is recorded, but not a partition"
    if facts.unlisted:
        yield FindingKind.UNLISTED, _UNLISTED
    if facts.has_checkpoint and not marked_complete(facts):
        yield FindingKind.UNEXPORTED, "the checkpoint does not say that it is complete"
    yield FindingKind.CONSISTENT, ""


def _of_the_horizon(facts: Facts) -> Iterator[Found]:
    """The finding for a wallet whose coverage goes beyond what the source can have served."""
    spans = doubtful(facts)
    if facts.covered and doubtful_coverage(facts):
        spans.append(facts.covered)
    if spans and facts.horizon is not None:
        reach, limit = (as_text(t) for t in (max(s.until for s in spans), facts.horizon))
        yield (
            FindingKind.AHEAD,
            f"covered until {reach}, but the source could be asked only until {limit}",
        )


def _of_refetch(facts: Facts) -> Iterator[Found]:
    if facts.marker_damaged or facts.refetching:
        yield FindingKind.REFETCHING, facts.marker_damaged or facts.refetching


def _of_the_table(facts: Facts, rows: int) -> Iterator[Found]:
    """The findings for a table that should hold `rows` of the wallet."""
    differs = table_differs(facts, rows)
    if differs and facts.tally.ours < rows:
        yield FindingKind.UNLOADED, differs
    if facts.pending:
        yield FindingKind.UNLOADED, facts.pending
    if differs:
        yield FindingKind.SURPLUS, differs


def _of_unrecorded(facts: Facts, adopt: Adopt, now: int) -> Iterator[Found]:
    """The findings for a wallet without a record, worst first."""
    whole = stored_until(facts)
    if facts.revoked is not None and (not whole or whole < facts.revoked):
        yield FindingKind.GHOST, "its record was revoked, and it has not been fetched again yet"
    yield from _of_the_horizon(facts)
    if whole:
        yield FindingKind.ORPHAN, "the store covers it, but it is not recorded"
    if marked_complete(facts):
        yield from _of_marked(evidence(facts, now), adopt)
    yield from _of_refetch(facts)
    if not facts.registered and (facts.ticks or facts.stored or facts.old_files):
        yield (
            FindingKind.UNREGISTERED,
            "the checkpoint or the store knows it, but it is not a partition",
        )
    if facts.unlisted:
        yield FindingKind.UNLISTED, _UNLISTED
    if facts.registered or facts.wanted:
        yield FindingKind.REMAINING, "part of it is in the store" if facts.stored else ""
    if facts.unclaimed:
        yield (
            FindingKind.UNCLAIMED,
            f"{counted(facts.unclaimed, 'row')}, but no record, no segment and no batch",
        )
    yield FindingKind.CONSISTENT, "rows in the table, of a wallet that is not wanted"


def _of_marked(found: Evidence, adopt: Adopt) -> Iterator[Found]:
    """The finding for a wallet that the checkpoint marks complete and that has no record.

    There is none if the evidence is a file, and the policy is NEVER.
    """
    match found:
        case Empty():
            yield FindingKind.EMPTY_COMPLETE, "marked complete with no trades"
        case Refuted(why):
            yield FindingKind.FALSE_COMPLETE, why
        case Believed() | Unread() if adopt is Adopt.NEVER:
            return
        case Believed(file):
            yield FindingKind.ADOPTABLE, f"{file.name} has {counted(file.rows or 0, 'trade')}"
        case Unread(file):
            raise ValueError(f"{file.name} has to be read first")
        case _:
            assert_never(found)
