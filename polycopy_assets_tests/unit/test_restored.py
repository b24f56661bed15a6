"""What becomes of a wallet's record when it is rebuilt from a snapshot and the store."""

import pytest

from polycopy_assets.ledger.facts import Facts, Recorded
from polycopy_assets.ledger.restored import Restored, restored
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import Segment, StoredSegment
from polycopy_assets.trades.wanted import DELETED, State

WALLET = "0x" + "a" * 40
NOW = 10_000


def segment(start: int, until: int) -> Segment:
    return Segment(
        folder="trades/",
        wallet=WALLET,
        start=start,
        until=until,
        rows=1,
        size=until,
        crc32c="00000000",
        first=start,
        last=start,
    )


def stored(*spans: tuple[int, int]) -> tuple[StoredSegment, ...]:
    return tuple(StoredSegment(span=Interval(*span), size=span[1]) for span in spans)


def recorded(*spans: tuple[int, int], until: int = 0) -> Recorded:
    segments = tuple(segment(*span) for span in spans)
    return Recorded(
        version="v",
        rows=len(segments),
        segments=segments,
        covered_until=until or max(end for _, end in spans),
    )


def facts(**known: object) -> Facts:
    return Facts(wallet=WALLET, horizon=NOW, now=NOW, **known)  # type: ignore[arg-type]


OLD = recorded((0, 100), (100, 200))
OTHER_SIZE = (
    StoredSegment(span=Interval(0, 100), size=100),
    StoredSegment(span=Interval(100, 200), size=1),
)


@pytest.mark.parametrize(
    "what",
    [
        facts(record=OLD, stored=stored((0, 100), (100, 200))),
        facts(record=OLD, stored=stored((0, 100), (100, 200), (300, 400))),
        facts(
            record=recorded((0, 100), until=150),
            stored=stored((0, 100)),
            covered=Interval(100, 180),
        ),
    ],
    ids=["nothing came after it", "a killed fetch left a piece with a gap", "no news since"],
)
def test_a_record_counts_while_the_store_holds_what_it_names(what: Facts):
    found = restored(what, NOW)
    assert found.keep
    assert found.rebuild is None
    assert found.revoke is None


def test_news_since_the_snapshot_are_recorded_with_what_the_snapshot_knows():
    found = restored(facts(record=OLD, stored=stored((0, 100), (100, 200), (200, 300))), NOW)
    assert found.keep
    assert found.rebuild is not None
    assert found.rebuild.record == OLD


@pytest.mark.parametrize(
    "there", [stored((0, 200)), stored((0, 150), (150, 250)), OTHER_SIZE], ids=str
)
def test_segments_that_were_united_or_replaced_are_recorded_as_they_are(
    there: tuple[StoredSegment, ...],
):
    found = restored(facts(record=OLD, stored=there), NOW)
    assert not found.keep
    assert found.revoke is None
    assert found.rebuild is not None
    assert found.rebuild.record is None
    assert found.rebuild.stored == there


@pytest.mark.parametrize("there", [stored((0, 100)), stored((100, 200)), ()], ids=str)
def test_what_nothing_covers_any_more_is_revoked(there: tuple[StoredSegment, ...]):
    found = restored(facts(record=OLD, stored=there), NOW)
    assert (found.keep, found.rebuild, found.revoke) == (False, None, 200)


def test_lost_coverage_objects_leave_the_segments_recorded():
    found = restored(facts(record=recorded((0, 100), until=150), stored=stored((0, 100))), NOW)
    assert not found.keep
    assert found.revoke is None
    assert found.rebuild is not None


def test_a_revoked_record_stays_revoked_until_the_store_covers_as_much():
    assert restored(facts(revoked=200, stored=stored((0, 100))), NOW).revoke == 200
    found = restored(facts(revoked=200, stored=stored((0, 200))), NOW)
    assert found.revoke is None
    assert found.rebuild is not None


def test_half_a_first_fetch_has_no_record():
    found = restored(facts(stored=stored((100, 200))), NOW)
    assert (found.keep, found.rebuild, found.revoke) == (False, None, None)


def test_coverage_of_the_future_is_not_recorded():
    found = restored(facts(stored=stored((0, 10 * NOW))), NOW)
    assert (found.keep, found.rebuild) == (False, None)


@pytest.mark.parametrize("state", sorted(DELETED))
@pytest.mark.parametrize("there", [stored((0, 100), (100, 200)), ()], ids=["all", "nothing"])
def test_a_wallet_that_is_purged_has_no_record_whatever_a_snapshot_says(
    state: State, there: tuple[StoredSegment, ...]
):
    assert restored(facts(record=OLD, stored=there, retired=state), NOW) == Restored(revoke=0)
    assert restored(facts(revoked=200, stored=there, retired=state), NOW) == Restored(revoke=0)
    assert restored(facts(stored=there, retired=state), NOW) == Restored()


def test_a_wallet_that_is_removed_keeps_its_record():
    held = facts(record=OLD, stored=stored((0, 100), (100, 200)), retired=State.REMOVED)
    assert restored(held, NOW).keep
