"""Is the source down, and whose attempt counts: the rules, as tables of outcomes in a row."""

import pytest

from polycopy_assets.errors import (
    ContractBroken,
    Kind,
    LockLost,
    ObjectDamaged,
    ObjectExists,
    ObjectKept,
    ObjectLost,
    ObjectUnreadable,
    PermanentError,
    PolycopyError,
    StoreError,
    TransientError,
    Unreachable,
    WarehouseError,
)
from polycopy_assets.fetch.blame import (
    DOWN_AFTER,
    HOPELESS_AFTER,
    Failed,
    Fault,
    Streaks,
    Suspects,
    failed,
    fault_of,
)

GOOD = None
OUTAGE, NO_WAY = TransientError("503"), Unreachable("refused")
ODD, GONE = ContractBroken("no list"), PermanentError("404")
FULL, LOST = StoreError("disk full"), ObjectLost("an object", "is gone")
BUG = ValueError("nobody foresaw it")

Outcomes = list[Exception | None]


def streaks_after(outcomes: Outcomes, *, can_ask: bool = True) -> Streaks:
    streaks = Streaks(can_ask=can_ask)
    for number, error in enumerate(outcomes):
        if error is None:
            streaks.succeeded()
        else:
            streaks.failed(failed(f"0x{number:040x}", error))
    return streaks


UP, ASK, DOWN = "up", "ask the source", "down"


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([], UP),
        ([GOOD], UP),
        # One outage says nothing; so many in a row, and the source is asked for its status.
        ([OUTAGE] * (DOWN_AFTER - 1), UP),
        ([OUTAGE] * DOWN_AFTER, ASK),
        ([OUTAGE] * (HOPELESS_AFTER - 1), ASK),
        ([OUTAGE] * HOPELESS_AFTER, DOWN),
        # Without a connection it is asked at once.
        ([NO_WAY], ASK),
        ([NO_WAY, GOOD], UP),
        ([NO_WAY, OUTAGE], UP),
        ([OUTAGE] * (DOWN_AFTER - 1) + [NO_WAY], ASK),
        ([NO_WAY] * HOPELESS_AFTER, DOWN),
        ([NO_WAY, OUTAGE] * (HOPELESS_AFTER // 2), DOWN),
        # A success resets every count.
        ([*[OUTAGE] * (DOWN_AFTER - 1), GOOD, *[OUTAGE] * (DOWN_AFTER - 1)], UP),
        ([*[OUTAGE] * (HOPELESS_AFTER - 1), GOOD, *[OUTAGE] * DOWN_AFTER], ASK),
        ([*[FULL] * (DOWN_AFTER - 1), GOOD, FULL], UP),
        ([*[ODD] * (DOWN_AFTER - 1), GOOD, ODD], UP),
        # Bad answers: a portal in between may give everybody one page. It is asked now and then.
        ([ODD] * (DOWN_AFTER - 1), UP),
        ([ODD] * DOWN_AFTER, ASK),
        ([ODD] * (DOWN_AFTER + 1), UP),
        ([ODD] * (2 * DOWN_AFTER), ASK),
        ([ODD] * (HOPELESS_AFTER + 1), UP),
        # What says nothing about the source is no reason to ask again.
        ([*[ODD] * DOWN_AFTER, GONE], UP),
        ([*[OUTAGE] * DOWN_AFTER, FULL], UP),
        ([*[OUTAGE] * DOWN_AFTER, BUG, OUTAGE], ASK),
        # The store is down after so many; one object says nothing about it.
        ([FULL] * (DOWN_AFTER - 1), UP),
        ([FULL] * DOWN_AFTER, DOWN),
        ([LOST] * (2 * HOPELESS_AFTER), UP),
        # What is a wallet's own fault neither counts nor resets.
        ([GONE] * (2 * HOPELESS_AFTER), UP),
        ([BUG] * (2 * HOPELESS_AFTER), UP),
        ([*[OUTAGE] * (DOWN_AFTER - 1), GONE, OUTAGE], ASK),
        ([*[FULL] * (DOWN_AFTER - 1), GONE, FULL], DOWN),
        # Outages of the source and troubles of the store are counted apart.
        ([OUTAGE, FULL] * (DOWN_AFTER - 1), UP),
        # Once down it stays so: wallets that were under way may still end well.
        ([*[FULL] * DOWN_AFTER, GOOD], DOWN),
    ],
)
def test_a_fetch_takes_the_source_for(outcomes: Outcomes, verdict: str):
    streaks = streaks_after(outcomes)
    found = DOWN if streaks.down else ASK if streaks.in_doubt else UP
    assert found == verdict
    assert not (streaks.down and streaks.in_doubt)


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ([OUTAGE] * (DOWN_AFTER - 1), UP),
        ([OUTAGE] * DOWN_AFTER, DOWN),
        ([NO_WAY] * (DOWN_AFTER - 1), UP),
        ([NO_WAY] * DOWN_AFTER, DOWN),
        ([*[OUTAGE] * (DOWN_AFTER - 1), GOOD, OUTAGE], UP),
        ([ODD] * (HOPELESS_AFTER - 1), UP),
        ([ODD] * HOPELESS_AFTER, DOWN),
        ([GONE] * HOPELESS_AFTER, DOWN),
        ([BUG] * HOPELESS_AFTER, DOWN),
        ([*[GONE] * (HOPELESS_AFTER - 1), GOOD, GONE], UP),
        ([*[ODD] * (HOPELESS_AFTER - 1), OUTAGE], DOWN),
    ],
)
def test_where_the_source_cannot_be_asked_it_counts_as(outcomes: Outcomes, verdict: str):
    streaks = streaks_after(outcomes, can_ask=False)
    assert (DOWN if streaks.down else UP) == verdict
    assert not streaks.in_doubt


def test_the_reason_names_how_many_failed_and_the_last_of_them():
    assert streaks_after([OUTAGE] * HOPELESS_AFTER).down == (
        f"{HOPELESS_AFTER} wallets in a row failed, last: transient: 503"
    )
    assert streaks_after([FULL] * DOWN_AFTER).down == (
        f"the store failed {DOWN_AFTER} wallets in a row, last: store: disk full"
    )


def test_the_first_reason_to_give_up_stays():
    streaks = streaks_after([FULL] * DOWN_AFTER)
    first = streaks.down
    streaks.give_up("its status is down")
    assert streaks.down == first


SKIPPED = "skipped"
Told = Exception | None | str


def attempts_after(outcomes: list[Told]) -> tuple[list[int], bool]:
    """The numbers of the wallets whose attempt counts, and whether the source counts as down."""
    suspects, own = Suspects(), []
    for number, outcome in enumerate(outcomes):
        if outcome is None:
            own += suspects.fetched()
        elif isinstance(outcome, str):
            own += suspects.failed(Failed(wallet=str(number), reason="not tried", tried=False))
        else:
            own += suspects.failed(failed(str(number), outcome))
    own += suspects.ended()
    return sorted(int(failure.wallet) for failure in own), suspects.down


@pytest.mark.parametrize(
    ("outcomes", "counted", "down"),
    [
        ([], [], False),
        ([GOOD, GOOD], [], False),
        # A wallet alone, or all wallets: it may be the source, and no attempt counts.
        ([OUTAGE], [], True),
        ([OUTAGE, OUTAGE, OUTAGE], [], True),
        ([NO_WAY], [], True),
        ([FULL], [], True),
        # Another wallet that was fetched, before or after, shows that the source is up.
        ([OUTAGE, GOOD], [0], False),
        ([GOOD, OUTAGE], [1], False),
        ([OUTAGE, GOOD, OUTAGE], [0, 2], False),
        ([FULL, GOOD], [0], False),
        # What was refused, or answered badly, was answered: the source is up, the store unknown.
        ([OUTAGE, GONE], [0, 1], False),
        ([OUTAGE, ODD], [0, 1], False),
        ([FULL, GONE], [1], True),
        # A failure of the wallet's own counts at once, and says nothing about others.
        ([BUG], [0], False),
        ([OUTAGE, BUG], [1], True),
        ([LOST], [0], False),
        # When the fetch gave up, what was last held against a wallet was the outage's.
        ([GOOD, OUTAGE, OUTAGE, SKIPPED], [], True),
        ([OUTAGE, GOOD, OUTAGE, SKIPPED], [0], True),
        ([SKIPPED, SKIPPED], [], True),
    ],
)
def test_the_attempts_that_count_are_those_of(
    outcomes: list[Told], counted: list[int], *, down: bool
):
    assert attempts_after(outcomes) == (counted, down)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Unreachable(""), Fault.UNREACHABLE),
        (TransientError(""), Fault.OUTAGE),
        (ContractBroken(""), Fault.ANSWER),
        (PermanentError(""), Fault.WALLET),
        (StoreError(""), Fault.STORE),
        *[
            (each("", ""), Fault.WALLET)
            for each in (ObjectLost, ObjectExists, ObjectDamaged, ObjectUnreadable)
        ],
        (ObjectKept(""), Fault.WALLET),
        (WarehouseError(""), Fault.WALLET),
        (KeyError(""), Fault.WALLET),
    ],
)
def test_an_error_tells_whose_fault_it_is(error: Exception, fault: Fault):
    assert fault_of(error) is fault
    assert failed("0x", error).may_be_outage == (
        fault in {Fault.OUTAGE, Fault.UNREACHABLE, Fault.STORE}
    )


def test_an_error_of_one_object_keeps_its_parts():
    error = ObjectLost("trades/0x/0-9", "is gone:\nnobody knows why")
    assert str(error) == f"{error.name} {error.why}"
    assert (error.name, error.why) == ("trades/0x/0-9", r"is gone:\nnobody knows why")


def test_a_failure_says_its_kind_and_keeps_the_traceback_of_what_nobody_foresaw():
    known = failed("0x", PermanentError("404 no such wallet"))
    assert (known.kind, known.reason, known.traceback) == (
        Kind.PERMANENT,
        "permanent: 404 no such wallet",
        "",
    )
    try:
        raise BUG
    except ValueError as error:
        unforeseen = failed("0x", error)
    assert unforeseen.kind is Kind.INTERNAL
    assert "raise BUG" in unforeseen.traceback


@pytest.mark.parametrize("error", [PolycopyError("odd"), LockLost("gone")])
def test_an_error_without_a_kind_of_its_own_is_internal(error: PolycopyError):
    assert failed("0x", error).kind is Kind.INTERNAL


def test_a_kind_that_this_version_does_not_know_is_read_as_the_sources():
    assert [Kind.of(word) for word in ("contract", "store", "of a later version", "")] == [
        Kind.CONTRACT,
        Kind.STORE,
        Kind.SOURCE,
        Kind.SOURCE,
    ]
