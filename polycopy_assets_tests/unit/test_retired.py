"""Removed wallets as a reconciliation finds them; and what `status` and `wallets list` print."""

import msgspec
import pytest

from polycopy_assets.cli.next_steps import next_steps
from polycopy_assets.cli.wallets_list import line
from polycopy_assets.ledger.facts import Checkpoint, Facts, OldFile, Recorded, Tally
from polycopy_assets.ledger.findings import classify
from polycopy_assets.ledger.kinds import Action, Adopt, FindingKind
from polycopy_assets.ledger.restored import restored
from polycopy_assets.record.wanted import standing
from polycopy_assets.store.wanted import Wanted
from polycopy_assets.trades.segment import Segment, StoredSegment
from polycopy_assets.trades.wanted import Entry, State

WALLET = "0x" + "1" * 40
OTHER = "0x" + "2" * 40
NOW = 1_700_000_000

SEGMENT = Segment(
    folder="trades/", wallet=WALLET, start=0, until=1_000, rows=3, size=9, crc32c="00000001"
)
STORED = StoredSegment(span=SEGMENT.span, size=9)
RECORD = Recorded(rows=3, segments=(SEGMENT,), covered_until=1_000)
WHOLE = Facts(
    wallet=WALLET,
    registered=True,
    wanted=True,
    record=RECORD,
    stored=(STORED,),
    tally=Tally(rows=3, inside=3, ours=3),
)
MARKED = Checkpoint(
    wallet_address=WALLET,
    completed=True,
    processed_at=None,
    trade_count=0,
    gcs_file=None,
    upload_successful=True,
)


def changed(**facts: object) -> Facts:
    return msgspec.structs.replace(WHOLE, **facts)


CASES = {
    "all is there": (changed(registered=False), FindingKind.RETIRED),
    "a partition": (WHOLE, FindingKind.RETIRED),
    "nothing at all": (Facts(wallet=WALLET), FindingKind.RETIRED),
    "a row without a partition": (Facts(wallet=WALLET, wanted=True), FindingKind.RETIRED),
    "an old file": (Facts(wallet=WALLET, old_files=(OldFile(name="f", size=1),)), "retired"),
    "marked without trades": (Facts(wallet=WALLET, ticks=(MARKED,)), FindingKind.RETIRED),
    "a full refetch": (changed(refetching="a full refetch has not ended"), FindingKind.RETIRED),
    "newer trades": (changed(record=msgspec.structs.replace(RECORD, newer=1)), "retired"),
    "not recorded": (changed(record=None), FindingKind.ORPHAN),
    "rows are missing": (changed(tally=Tally()), FindingKind.UNLOADED),
    "rows too many": (changed(tally=Tally(rows=4, inside=4, ours=4)), FindingKind.SURPLUS),
    "a segment is gone": (changed(stored=()), FindingKind.GHOST),
    "that was revoked": (Facts(wallet=WALLET, revoked=1_000), FindingKind.RETIRED),
}


@pytest.mark.parametrize("case", CASES)
def test_of_a_removed_wallet_only_what_needs_no_request_is_settled(case: str):
    facts, expected = CASES[case]
    removed = msgspec.structs.replace(facts, retired=State.REMOVED)
    assert classify(removed, adopt=Adopt.VERIFIED, now=NOW).finding == expected
    for state in (State.PURGING, State.PURGED):
        gone = msgspec.structs.replace(facts, retired=state)
        found = classify(gone, adopt=Adopt.VERIFIED, now=NOW)
        assert (found.finding, found.action) == (FindingKind.RETIRED, Action.NONE)
        assert found.finding.settled
        assert str(state) in found.why


def test_a_wanted_wallet_without_a_row_is_unlisted_and_worse_things_come_first():
    for facts in (changed(unlisted=True), Facts(wallet=WALLET, wanted=True, unlisted=True)):
        found = classify(facts, adopt=Adopt.VERIFIED, now=NOW)
        assert (found.finding, found.action) == (FindingKind.UNLISTED, Action.LIST)
    found = classify(changed(unlisted=True, tally=Tally()), adopt=Adopt.VERIFIED, now=NOW)
    assert found.finding is FindingKind.UNLOADED


def test_a_record_is_not_rebuilt_from_what_a_purge_has_left():
    left = changed(record=None, registered=False)
    assert restored(left, NOW).rebuild is not None
    assert restored(msgspec.structs.replace(left, retired=State.REMOVED), NOW).rebuild is not None
    assert restored(msgspec.structs.replace(left, retired=State.PURGING), NOW).rebuild is None


def listing(**states: State) -> Wanted:
    names = {"one": WALLET, "other": OTHER}
    return Wanted(entries={names[n]: Entry(names[n], s, 1) for n, s in states.items()})


def test_where_rows_partitions_and_list_agree_nothing_is_to_be_done():
    same = standing([WALLET], [WALLET], listing(one=State.WANTED, other=State.PURGED))
    assert next_steps(1, 0, 0, 5, 5, same) == [
        "all is complete: `polycopy backfill --refresh` fetches new trades"
    ]
    nothing = standing([], [], listing())
    (step,) = next_steps(0, 0, 0, 0, 0, nothing)
    assert step.startswith("no wallets: `polycopy wallets add ADDRESS`")
    assert "`polycopy wallets discover`" in step
    steps = next_steps(1, 1, 1, 5, 3, same)
    assert [step.split("`")[1] for step in steps] == [
        "polycopy status --failed",
        "polycopy backfill",
    ]
    assert next_steps(1, 0, 0, 5, 3, same) == ["`polycopy backfill` loads what the table lacks"]


@pytest.mark.parametrize(
    ("partitions", "rows", "state", "said"),
    [
        ([WALLET], [], State.WANTED, "collected, but without a row of `traders`"),
        ([], [WALLET], State.WANTED, "in `traders`, but without a partition"),
        ([], [], State.WANTED, "neither in `traders` nor a partition"),
        ([WALLET], [], State.REMOVED, "a row of `traders` or a partition is left"),
        ([], [WALLET], State.REMOVED, "a row of `traders` or a partition is left"),
        ([], [], State.PURGING, "`polycopy wallets remove --purge` continues"),
    ],
)
def test_a_wallet_that_is_wanted_in_one_place_only_is_named_with_what_to_do(
    partitions: list[str], rows: list[str], state: State, said: str
):
    (step,) = next_steps(1, 0, 0, 0, 0, standing(partitions, rows, listing(one=state)))
    assert step.startswith(f"1 wallet ({WALLET}) is ")
    assert said in step


@pytest.mark.parametrize("columns", [120, 100, 99, 70, 60, 59, 40])
def test_a_line_of_the_list_fits_the_terminal(columns: int):
    some = (WALLET, "remaining", "1,234,567", "2026-11-29 12:00")
    for error in ("", "contract: the page is of another wallet " * 9):
        lines = line(*some, error, columns).splitlines()
        assert max(map(len, lines)) <= columns
        assert "2026-11-29" in lines[0]
        assert "1,234,567" in lines[0]
        assert lines[0].startswith("0x11")
        assert bool(error) == ("contract: the page" in " ".join(lines))


@pytest.mark.parametrize("columns", [120, 113, 112, 100, 99, 72, 71])
def test_a_line_with_the_rows_of_three_feeds_shows_until_when_they_are_covered(columns: int):
    rows = " ".join(f"{number:>{13 if columns >= 100 else 11}}" for number in ("1,234", "5", "6"))
    said = line(WALLET, "remaining", rows, "2026-11-29 12:00", "", columns)
    assert len(said) <= columns
    assert said.endswith("2026-11-29 12:00" if columns >= 72 else "2026-11-29")


@pytest.mark.parametrize("columns", [65, 60, 59, 40, 33])
def test_the_rows_of_three_feeds_have_a_line_of_their_own_where_there_is_no_room(columns: int):
    rows = " ".join(f"{number:>{11 if columns >= 60 else 9}}" for number in ("1,234", "5", "6"))
    for error in ("", "contract: the page is of another wallet " * 9):
        first, second, *reason = line(
            WALLET, "remaining", rows, "2026-11-29 12:00", error, columns
        ).splitlines()
        assert first == "0x11…1111 remaining 2026-11-29"
        assert second.split() == ["1,234", "5", "6"], "whole"
        assert len(reason) == bool(error)
        assert max(map(len, (first, second, *reason))) <= columns
    heading = line("wallet", "state", rows, "covered until", "", columns)
    assert heading.splitlines()[0] == "wallet    state     covered"


def test_without_a_terminal_nothing_is_shortened():
    error = "contract: " + "x" * 500
    assert line(WALLET, "failed", "3", "-", error, None).endswith(error)
    assert line(WALLET, "failed", "3", "-", error, None).startswith(f"{WALLET}  failed")
