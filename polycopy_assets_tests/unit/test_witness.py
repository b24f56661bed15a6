"""The comparison with the source's own count, as arithmetic; and how the source is asked."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import serve
from polycopy_assets.demo.state import State
from polycopy_assets.errors import ConfigurationError, ContractBroken, TransientError
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.blame import DOWN_AFTER, HOPELESS_AFTER, Failed
from polycopy_assets.fetch.count_wallets import Questions
from polycopy_assets.ledger.facts import Tally
from polycopy_assets.ledger.failure import Failure
from polycopy_assets.ledger.source_counts import (
    DAY,
    RECENT,
    REFETCH_AGAIN_AFTER,
    Complete,
    Count,
    Ours,
    count_version,
    ours,
    read_version,
    summed_up,
    whole_days,
)
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.open import can_count, check_can_count
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Witness
from polycopy_assets_tests.of_trades import open_source

NOW = 1_800_000_000
WALLET = "0x" + "a" * 40
VERSION = "rows-7-0123456789abcdef"
COUNT = Count(wallet=WALLET, source=7, ours=7, until=NOW // DAY * DAY, asked=NOW, version=VERSION)


def count(**changes: object) -> Count:
    return msgspec.structs.replace(COUNT, **changes)


def test_the_last_whole_day_ends_at_midnight_utc():
    midnight = 20_000 * DAY
    assert [whole_days(midnight + s) for s in (-1, 0, 1, DAY - 1)] == [
        midnight - DAY,
        midnight,
        midnight,
        midnight,
    ]


COMPLETE = Complete(wallet=WALLET, version=VERSION, rows=7, covered_until=NOW)


@pytest.mark.parametrize(
    ("whole", "why"),
    [
        (Tally(rows=6, inside=6, ours=6), "7 trades in the store, 6 of them in the table"),
        (Tally(rows=8, inside=8, ours=7), "7 trades in the store, 8 rows in the table"),
        (Tally(), "7 trades in the store, 0 of them in the table"),
    ],
)
def test_a_wallet_whose_table_differs_is_not_compared(whole: Tally, why: str):
    said = ours(COMPLETE, whole, whole)
    assert isinstance(said, str)
    assert why in said


def test_the_table_is_counted_until_the_last_whole_day_ends():
    whole, days = Tally(rows=9, inside=7, ours=7), Tally(rows=9, inside=5, ours=5)
    assert ours(COMPLETE, whole, days) == Ours(
        wallet=WALLET, version=VERSION, until=whole_days(NOW), rows=5
    )


def test_a_coverage_without_a_whole_day_is_not_compared():
    young = msgspec.structs.replace(COMPLETE, rows=0, covered_until=DAY - 1)
    assert ours(young, Tally(), Tally()) == "its coverage holds no whole day"


@pytest.mark.parametrize(
    ("known", "version", "now", "holds"),
    [
        (COUNT, VERSION, NOW, True),
        (COUNT, VERSION, NOW + RECENT - 1, True),
        (COUNT, VERSION, NOW + RECENT, False),
        (COUNT, "rows-8-0123456789abcdef", NOW, False),
        (COUNT, None, NOW, False),
    ],
)
def test_a_count_holds_for_a_while_and_for_the_same_data(
    known: Count, version: str | None, now: int, *, holds: bool
):
    assert known.holds(version, now) == holds


@pytest.mark.parametrize(
    ("differs", "now", "refetch"),
    [
        (count(), NOW, False),
        (count(source=9), NOW, True),
        (count(source=5), NOW, True),
        # One that left this very difference helps never, however long ago it was.
        (count(source=9, refetched=NOW, left=2), NOW + 9 * REFETCH_AGAIN_AFTER, False),
        # Another difference may be another trouble; but it waits.
        (count(source=10, refetched=NOW, left=2), NOW + REFETCH_AGAIN_AFTER - 1, False),
        (count(source=10, refetched=NOW, left=2), NOW + REFETCH_AGAIN_AFTER, True),
    ],
)
def test_a_wallet_is_fetched_again_only_if_that_may_help(
    differs: Count, now: int, *, refetch: bool
):
    assert differs.to_refetch(now) == refetch


def test_a_comparison_at_the_same_hour_every_day_asks_for_every_wallet():
    # The wallet that was asked for last yesterday may be asked for first today.
    assert not COUNT.holds(VERSION, NOW + DAY - 3 * 3600)


def test_what_a_refetch_left_is_remembered():
    useless = count(source=9).after(None, refetched=True)
    assert (useless.refetched, useless.left) == (NOW, 2)
    later = count(source=12, asked=NOW + DAY).after(useless, refetched=False)
    assert (later.refetched, later.left) == (NOW, 2)
    agreed = count(asked=NOW + DAY).after(later, refetched=False)
    assert (agreed.agrees, agreed.refetched, agreed.left) == (True, NOW, 2)
    assert count(source=9).after(None, refetched=False).refetched == 0


def test_counts_that_agree_and_differ_in_turn_do_not_refetch_a_wallet_every_other_day():
    last, refetches = None, []
    for day in range(70):
        said = count(source=8 if day % 2 else 7, asked=NOW + day * DAY)
        last = said.after(last, refetched=False)
        if last.to_refetch(NOW + day * DAY):
            refetches.append(day)
            helped = count(source=7, asked=NOW + day * DAY)
            last = helped.after(last, refetched=True)
    assert refetches == [1, 31, 61]


@given(*(st.integers(0, 10**12) for _ in range(5)), st.integers(-(10**9), 10**9))
def test_a_count_is_read_back_from_its_data_version(  # noqa: PLR0917
    source: int, ours: int, until: int, asked: int, refetched: int, left: int
):
    told = count(source=source, ours=ours, until=until, asked=asked, refetched=refetched, left=left)
    assert read_version(WALLET, count_version(told)) == told


@pytest.mark.parametrize("text", ["", VERSION, "count.1.2.3", "count.1.1.1.1.1.1.", "count.a"])
def test_what_is_no_count_is_none(text: str):
    assert read_version(WALLET, text) is None


def test_wallets_are_told_apart_by_what_is_known_of_them():
    wallets = [f"0x{number:040x}" for number in range(6)]
    agrees, differs, failed, old, unknown, fails_again = wallets
    counts = {
        agrees: count(wallet=agrees),
        differs: count(wallet=differs, source=9),
        old: count(wallet=old, version="rows-1-0123456789abcdef"),
        fails_again: count(wallet=fails_again),
        "0x" + "9" * 40: count(source=1),
    }
    found = summed_up(
        dict.fromkeys(wallets, VERSION),
        counts,
        {failed: "503", fails_again: "400", "0x" + "8" * 40: "not settled"},
        wallets=10,
        now=NOW,
        refetched=[differs],
        not_refetched=[Failure(old, "the store is full")],
    )
    assert (found.agree, [item.wallet for item in found.disagree]) == (1, [differs])
    assert found.failed == (
        Failure(failed, "503"),
        Failure(fails_again, "400"),
        Failure(old, "the store is full"),
    )
    assert {old, unknown}.isdisjoint(item.wallet for item in found.disagree)
    assert (found.not_asked, found.not_compared, found.done) == (2, 4, False)
    assert found.refetched == (differs,)


def test_disagreement_is_a_result_and_a_failure_is_none():
    def done(**changes: object) -> bool:
        found = summed_up({WALLET: VERSION}, {WALLET: count(source=9)}, {}, wallets=1, now=NOW)
        return msgspec.structs.replace(found, **changes).done

    assert done()
    assert not done(failed=(Failure(WALLET, "503"),))
    assert not done(not_asked=1)


def test_only_polymarket_counts():
    assert [can_count("polymarket"), can_count("dome")] == [True, False]
    check_can_count("polymarket", TRADES)
    with pytest.raises(ConfigurationError, match=r"POLYCOPY_SOURCE='dome'.*polymarket"):
        check_can_count("dome", TRADES)
    with pytest.raises(ConfigurationError, match="no source has a count of rows of activity"):
        check_can_count("polymarket", ACTIVITY)


def test_a_wallet_is_asked_for_by_one_request_over_whole_days():
    world = generate(93, 1, whales=1, whale_trades=400)
    wallet = world.wallets()[0].lower()
    times = sorted(trade.timestamp for trade in world.truth(wallet))
    until = whole_days(times[200])
    with serve(State(world, Faults())) as served:

        async def ask() -> int:
            async with open_source(
                "polymarket", served.url, windows=[Window(99, 1)], concurrency=1, timeout=2
            ) as source:
                assert isinstance(source, Witness)
                return await source.count_trades(wallet, Interval(0, until))

        assert asyncio.run(ask()) == sum(time < until for time in times)
        assert served.state.counts.count_requests == {wallet: 1}
        assert served.state.counts.trade_requests == 0
        served.state.faults.set_wallets({wallet: "count_broken"})
        with pytest.raises(ContractBroken, match="trade_count"):
            asyncio.run(ask())


class Failing:
    """A witness that fails as it is told, and then answers; counts how often it was asked."""

    def __init__(self, errors: list[Exception | None]) -> None:
        self.errors = errors
        self.asked = 0

    async def count_trades(self, wallet: str, span: Interval) -> int:
        del span
        self.asked += 1
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise error
        return len(wallet)


@pytest.mark.parametrize(
    ("errors", "asked"),
    [
        ([TransientError("down")] * 60, DOWN_AFTER),
        ([ContractBroken("odd")] * 60, HOPELESS_AFTER),
        ([ValueError("nobody foresaw it")] * 60, HOPELESS_AFTER),
        (([TransientError("down")] * (DOWN_AFTER - 1) + [None]) * 9, 60),
        (([ContractBroken("odd")] * (HOPELESS_AFTER - 1) + [None]) * 9, 60),
    ],
)
def test_after_many_failures_in_a_row_no_more_wallets_are_asked_for(
    errors: list[Exception | None], asked: int
):
    wallets = [
        Ours(wallet=f"0x{number:040x}", version=VERSION, until=DAY, rows=42) for number in range(60)
    ]
    failing = Failing(list(errors))

    async def ask() -> list[Count | Failed]:
        return [outcome async for outcome in Questions(failing, concurrency=1).ask(wallets)]

    outcomes = asyncio.run(ask())
    assert failing.asked == asked
    assert {outcome.wallet for outcome in outcomes} == {item.wallet for item in wallets}
    tried = [o for o in outcomes if isinstance(o, Count) or o.tried]
    assert len(tried) == asked
    assert sum(isinstance(o, Count) for o in outcomes) == errors[:asked].count(None)
