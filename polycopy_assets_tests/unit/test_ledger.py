"""Facts in, findings out: total, deterministic, convergent, and fast."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycopy_assets.ledger.evidence import MARGIN, Believed, Empty, Refuted, Unread, evidence
from polycopy_assets.ledger.facts import (
    Checkpoint,
    Facts,
    OldFile,
    Recorded,
    StoredSegment,
    Tally,
    claimed_until,
    whole_until,
)
from polycopy_assets.ledger.findings import (
    Finding,
    classify,
    count,
    lost_segments,
    table_differs,
    to_read,
)
from polycopy_assets.ledger.kinds import Adopt, FindingKind
from polycopy_assets.trades.interval import Interval, disjoint
from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.shapes import CHECKPOINT
from polycopy_assets_tests.of_trades import replaced_segments, segment_name

WALLET = "0x" + "ab" * 20
OTHER = "0x" + "cd" * 20
NOW = 1_800_000_000
SEEN = datetime(2025, 6, 1, tzinfo=UTC)


def segment(start: int, until: int, rows: int = 3, **changes: object) -> Segment:
    made = Segment(
        folder="trades/",
        wallet=WALLET,
        start=start,
        until=until,
        rows=rows,
        size=100,
        crc32c="00000001",
    )
    return msgspec.structs.replace(made, **changes)


def stored(*segments: Segment) -> tuple[StoredSegment, ...]:
    return tuple(StoredSegment(span=item.span, size=item.size) for item in segments)


def recorded(*segments: Segment) -> Recorded:
    return Recorded(
        rows=sum(item.rows for item in segments),
        segments=segments,
        covered_until=max(item.until for item in segments),
    )


def tick(count: int | None = 3, **changes: object) -> Checkpoint:
    row = Checkpoint(
        wallet_address=WALLET,
        completed=True,
        processed_at=SEEN,
        trade_count=count,
        gcs_file=None,
        upload_successful=True,
    )
    return row._replace(**changes)


FILE = OldFile(name=f"trades/{WALLET}.jsonl", size=900, rows=3, last=1_700_000_000)
TORN = msgspec.structs.replace(FILE, problem="line 2 is torn")
TICKED = Facts(
    wallet=WALLET, registered=True, has_checkpoint=True, ticks=(tick(),), old_files=(FILE,)
)
ONE, TWO = segment(0, 1000), segment(1000, 2000)
GOOD = Facts(
    wallet=WALLET,
    registered=True,
    record=recorded(ONE, TWO),
    stored=stored(ONE, TWO),
    ticks=(tick(),),
    has_checkpoint=True,
    tally=Tally(6, 6, 6, 0),
)


def with_(facts: Facts, **changes: object) -> Facts:
    return msgspec.structs.replace(facts, **changes)


def found(facts: Facts, adopt: Adopt = Adopt.VERIFIED) -> str:
    return classify(facts, adopt=adopt, now=NOW).finding


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (GOOD, "consistent"),
        (with_(GOOD, ticks=(), has_checkpoint=False), "consistent"),
        (with_(GOOD, wanted=True, tally=Tally(9, 6, 6, 0)), "consistent"),
        (with_(GOOD, stored=stored(ONE)), "ghost"),
        (with_(GOOD, stored=stored(ONE, segment(1000, 2000, size=99))), "ghost"),
        (
            with_(
                GOOD,
                stored=(
                    *stored(ONE),
                    StoredSegment(span=TWO.span, size=100, crc32c="00000002"),
                ),
            ),
            "ghost",
        ),
        (
            with_(GOOD, record=Recorded(rows=0, segments=(), covered_until=0, problem="bad")),
            "ghost",
        ),
        (with_(GOOD, stored=stored(ONE, TWO, segment(2000, 3000))), "orphan"),
        (with_(GOOD, stored=stored(ONE, TWO, segment(2500, 3000))), "consistent"),
        (with_(GOOD, record=None), "orphan"),
        (with_(GOOD, record=None, revoked=2000), "orphan"),
        (with_(GOOD, record=None, revoked=2000, stored=stored(ONE)), "ghost"),
        (with_(GOOD, record=None, revoked=2000, stored=()), "ghost"),
        (with_(GOOD, record=None, revoked=0, stored=()), "ghost"),
        (with_(GOOD, stored=stored(segment(0, 2000)), replaced=stored(ONE, TWO)), "consistent"),
        (with_(GOOD, stored=stored(segment(0, 2500)), replaced=stored(ONE, TWO)), "orphan"),
        (with_(GOOD, stored=stored(segment(0, 2500)), replaced=stored(ONE)), "ghost"),
        (with_(GOOD, pending="batch 3 is not loaded yet"), "unloaded"),
        (with_(GOOD, pending="not yet", tally=Tally(7, 7, 7, 0)), "unloaded"),
        (with_(GOOD, record=None, registered=False, ticks=()), "orphan"),
        (with_(GOOD, record=None, stored=stored(TWO), ticks=()), "remaining"),
        (with_(GOOD, record=None, stored=stored(TWO), ticks=(), registered=False), "unregistered"),
        (
            with_(GOOD, record=msgspec.structs.replace(recorded(ONE, TWO), newer=2)),
            "newer_than_file",
        ),
        (with_(GOOD, tally=Tally(5, 5, 5, 0)), "unloaded"),
        (with_(GOOD, tally=Tally(0, 0, 0, 0)), "unloaded"),
        (with_(GOOD, tally=Tally(6, 6, 5, 1)), "unloaded"),
        (with_(GOOD, tally=Tally(7, 7, 6, 0)), "surplus"),
        (with_(GOOD, tally=Tally(7, 7, 7, 0)), "surplus"),
        (with_(GOOD, registered=False), "unregistered"),
        (with_(GOOD, ticks=()), "unexported"),
        (with_(GOOD, ticks=(tick(completed=False),)), "unexported"),
        (with_(GOOD, ticks=(tick(completed=None), tick(None))), "consistent"),
        (Facts(wallet=WALLET, wanted=True), "remaining"),
        (Facts(wallet=WALLET, registered=True), "remaining"),
        (Facts(wallet=WALLET, ticks=(tick(completed=False),)), "unregistered"),
        (Facts(wallet=WALLET, old_files=(FILE,)), "unregistered"),
        (Facts(wallet=WALLET, tally=Tally(3, 0, 0, 0)), "consistent"),
        (TICKED, "adoptable"),
        (with_(TICKED, registered=False), "adoptable"),
        (with_(TICKED, ticks=(tick(None),)), "adoptable"),
        (with_(TICKED, ticks=(tick(9), tick(3), tick(0, completed=False))), "adoptable"),
        (with_(TICKED, stored=stored(TWO)), "adoptable"),
        (with_(TICKED, old_files=()), "false_complete"),
        (with_(TICKED, old_files=(), ticks=(tick(None),)), "false_complete"),
        (with_(TICKED, ticks=(tick(4),)), "false_complete"),
        (with_(TICKED, ticks=(tick(upload_successful=None),)), "false_complete"),
        (with_(TICKED, ticks=(tick(gcs_file=f"gs://b/{OTHER}.jsonl"),)), "false_complete"),
        (
            with_(TICKED, ticks=(tick(processed_at=datetime(1970, 1, 1, tzinfo=UTC)),)),
            "false_complete",
        ),
        (with_(TICKED, old_files=(FILE, FILE)), "false_complete"),
        (with_(TICKED, old_files=(TORN,)), "false_complete"),
        (with_(TICKED, ticks=(tick(0),), old_files=()), "empty_complete"),
        (with_(TICKED, ticks=(tick(0, upload_successful=None),), old_files=()), "empty_complete"),
        (with_(TICKED, ticks=(tick(0), tick(None)), old_files=()), "empty_complete"),
        (with_(TICKED, ticks=(tick(0), tick(2)), old_files=()), "false_complete"),
        (with_(TICKED, ticks=(tick(0),)), "false_complete"),
    ],
)
def test_each_state_of_the_ledgers_has_its_finding(facts: Facts, expected: str):
    assert found(facts) == expected


def test_policy_never_believes_no_file_and_reads_none():
    unread = msgspec.structs.replace(FILE, rows=None)
    facts = with_(TICKED, old_files=(unread,))
    assert found(facts, Adopt.NEVER) == "remaining"
    assert to_read(facts, adopt=Adopt.NEVER, now=NOW) is None
    assert to_read(facts, adopt=Adopt.VERIFIED, now=NOW) == FILE.name
    assert to_read(with_(facts, record=recorded(ONE)), adopt=Adopt.VERIFIED, now=NOW) is None
    assert to_read(with_(facts, stored=stored(ONE)), adopt=Adopt.VERIFIED, now=NOW) is None
    with pytest.raises(ValueError, match="has to be read first"):
        classify(facts, adopt=Adopt.VERIFIED, now=NOW)


def test_policy_refetch_finds_what_was_adopted_and_no_other_does():
    adopted = segment(0, 1000, source=CHECKPOINT)
    facts = with_(GOOD, record=recorded(adopted, TWO))
    assert found(facts, Adopt.REFETCH) == "adopted"
    assert found(facts, Adopt.VERIFIED) == found(facts, Adopt.NEVER) == "consistent"


def test_a_file_is_believed_until_a_day_before_the_earliest_date_that_it_bears_out():
    later = datetime(2025, 7, 1, tzinfo=UTC)
    earliest = evidence(with_(TICKED, ticks=(tick(processed_at=later), tick())), NOW)
    assert earliest == Believed(FILE, int(SEEN.timestamp()) - MARGIN)
    only = evidence(with_(TICKED, ticks=(tick(processed_at=later), tick(9))), NOW)
    assert only == Believed(FILE, int(later.timestamp()) - MARGIN)
    naive = evidence(with_(TICKED, ticks=(tick(processed_at=SEEN.replace(tzinfo=None)),)), NOW)
    assert naive == earliest
    undated = evidence(with_(TICKED, ticks=(tick(processed_at=None),)), NOW)
    assert undated == Believed(FILE, 1_700_000_000 - MARGIN)


def test_a_date_that_is_yet_to_come_is_none():
    future = tick(processed_at=datetime(2090, 1, 1, tzinfo=UTC))
    assert evidence(with_(TICKED, ticks=(future,)), NOW) == Believed(FILE, 1_700_000_000 - MARGIN)
    told = evidence(with_(TICKED, ticks=(future, tick())), NOW)
    assert told == Believed(FILE, int(SEEN.timestamp()) - MARGIN)


def test_a_trade_that_is_yet_to_come_refutes_its_file():
    late = msgspec.structs.replace(FILE, last=NOW + MARGIN + 1)
    told = evidence(with_(TICKED, old_files=(late,)), NOW)
    assert told == Refuted(f"{FILE.name} has a trade of 2027-01-16 08:00:01, in the future")
    soon = msgspec.structs.replace(FILE, last=NOW + MARGIN)
    assert isinstance(evidence(with_(TICKED, old_files=(soon,)), NOW), Believed)


def test_the_evidence_that_fails_is_named():
    cases = {
        "counted 4": with_(TICKED, ticks=(tick(4),)),
        "not in the store": with_(TICKED, old_files=()),
        "has no count": with_(TICKED, old_files=(), ticks=(tick(None),)),
        "was uploaded": with_(TICKED, ticks=(tick(upload_successful=False),)),
        "2 files": with_(TICKED, old_files=(FILE, FILE)),
        "another file": with_(TICKED, ticks=(tick(gcs_file="gs://b/x.jsonl"),)),
    }
    for text, facts in cases.items():
        told = evidence(facts, NOW)
        assert isinstance(told, Refuted)
        assert text in told.why
        assert classify(facts, adopt=Adopt.VERIFIED, now=NOW).why == told.why
    assert isinstance(evidence(with_(TICKED, old_files=(), ticks=(tick(0),)), NOW), Empty)
    unread = msgspec.structs.replace(FILE, rows=None)
    assert isinstance(evidence(with_(TICKED, old_files=(unread,)), NOW), Unread)


spans = st.lists(
    st.sampled_from([(0, 10), (10, 20), (0, 20), (20, 30), (25, 30), (5, 15)]), unique=True
)
rows = st.integers(0, 4)
maybe = st.sampled_from([True, False, None])


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    """Any state of the ledgers that can be read, however contradictory."""
    segments = [
        segment(
            start,
            until,
            draw(rows),
            source=draw(st.sampled_from([None, CHECKPOINT])),
            size=draw(st.sampled_from([100, 99])),
        )
        for start, until in draw(spans)
    ]
    whole = whole_until(item.span for item in segments)
    record = recorded(*segments) if whole and draw(st.booleans()) else None
    if record is not None:
        record = msgspec.structs.replace(record, newer=draw(st.sampled_from([0, 0, 3])))
    if draw(st.integers(0, 9)) == 0:
        record = Recorded(rows=0, segments=(), covered_until=0, problem="no segments")
    there = [item for item in segments if draw(st.integers(0, 3))]
    inside = draw(rows)
    return Facts(
        wallet=WALLET,
        wanted=draw(st.booleans()),
        registered=draw(st.booleans()),
        record=record,
        revoked=None if record else draw(st.sampled_from([None, 0, 20, 30])),
        pending=draw(st.sampled_from(["", "", "", "batch 3 is not loaded yet"])),
        stored=tuple(
            StoredSegment(
                span=item.span,
                size=draw(st.sampled_from([item.size, 7])),
                crc32c=draw(st.sampled_from([None, item.crc32c, "ffffffff"])),
            )
            for item in there
        ),
        old_files=tuple(
            OldFile(
                name=FILE.name,
                size=draw(rows),
                rows=draw(rows),
                last=draw(st.sampled_from([None, 5, 1_700_000_000])),
                problem=draw(st.sampled_from(["", "", "torn"])),
            )
            for _ in range(draw(st.integers(0, 2)))
        ),
        ticks=tuple(
            tick(
                draw(st.one_of(st.none(), rows)),
                completed=draw(maybe),
                upload_successful=draw(maybe),
                processed_at=draw(st.sampled_from([None, SEEN, datetime(1970, 1, 1)])),  # noqa: DTZ001
                gcs_file=draw(st.sampled_from([None, "", FILE.name.upper(), "gs://b/other"])),
            )
            for _ in range(draw(st.integers(0, 3)))
        ),
        has_checkpoint=draw(st.booleans()),
        tally=Tally(9, inside, draw(st.integers(0, inside)), draw(st.integers(0, inside))),
    )


def acted(facts: Facts, finding: Finding) -> Facts:
    """The facts after the action, when it went well: the model of `Repair.act`."""
    if finding.finding.settled:
        return facts
    if finding.finding is FindingKind.UNREGISTERED and facts.record is None:
        return with_(facts, registered=True)
    lost = lost_segments(facts.record, facts.stored) if facts.record else {}
    kept = [item.span for item in facts.stored if segment(*item.span).name not in lost]
    until = max([*(span.until for span in kept), claimed_until(facts), 100])
    if finding.action in {"record", "reload", "register", "export"}:
        until = claimed_until(facts)
    elif finding.action == "replace":
        kept = []
    covered = [*kept, *([Interval(0, until)] if whole_until(kept) != until else [])]
    segments = tuple(
        segment(*span, claim_start=None if claim == span else claim.start)
        for span, claim in disjoint(covered)
    )
    total = sum(item.rows for item in segments)
    return with_(
        facts,
        registered=True,
        record=recorded(*segments),
        revoked=None,
        pending="",
        stored=stored(*(segment(*span) for span in covered)),
        ticks=(tick(total),) if facts.has_checkpoint else facts.ticks,
        tally=Tally(total + 3, total, total, 0),
    )


@settings(max_examples=1000)
@given(any_facts(), st.sampled_from(Adopt))
def test_every_wallet_gets_exactly_one_finding_and_acting_on_it_settles_it(
    facts: Facts, policy: Adopt
):
    first = classify(facts, adopt=policy, now=NOW)
    assert first == classify(facts, adopt=policy, now=NOW)
    assert first.action is first.finding.action
    after = acted(facts, first)
    second = classify(after, adopt=policy, now=NOW)
    assert second.finding.settled, (first, second)
    if first.finding.settled:
        assert second == first


def test_the_findings_of_a_hundred_thousand_wallets_are_counted_by_kind():
    kinds = [GOOD, TICKED, with_(GOOD, record=None), with_(GOOD, stored=stored(ONE))]
    facts = [with_(kinds[n % 4], wallet=f"0x{n:040x}") for n in range(100_000)]
    findings = [classify(item, adopt=Adopt.VERIFIED, now=NOW) for item in facts]
    assert count(findings) == {
        "ghost": 25_000,
        "orphan": 25_000,
        "adoptable": 25_000,
        "consistent": 25_000,
    }


@pytest.mark.parametrize(("until", "replaced"), [(1500, 0), (2000, 2), (2500, 2)])
def test_old_segments_are_replaced_when_the_new_ones_cover_as_much(until: int, replaced: int):
    old, new = stored(ONE, TWO), stored(segment(0, until))
    marked = [segment_name(WALLET, item.span) for item in old]
    assert len(replaced_segments(marked, WALLET, [*old, *new], None)) == replaced


def test_a_table_that_differs_is_described_in_the_words_of_its_feed():
    facts = Facts(wallet=WALLET, row="row of activity", rows="rows of activity")
    assert table_differs(facts, 7) == "7 rows of activity in the store, 0 of them in the table"
