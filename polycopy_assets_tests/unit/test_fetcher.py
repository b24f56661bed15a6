"""Many wallets fetched from a source in memory into a store on disk: no HTTP, no Dagster."""

import asyncio
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import (
    Kind,
    LockLost,
    PermanentError,
    StoreError,
    TransientError,
    Unreachable,
)
from polycopy_assets.fetch.blame import DOWN_AFTER, HOPELESS_AFTER, Failed
from polycopy_assets.fetch.many_wallets import Fetcher
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.trades.interval import BEGINNING, Interval
from polycopy_assets.trades.segment import Segment, is_whole
from polycopy_assets_tests.fakes.memory import UNTIL, MemorySource
from polycopy_assets_tests.of_trades import Directory, wallet_prefix

WORLD = generate(71, 30, whales=1, whale_trades=400)
WALLETS = [wallet.lower() for wallet in WORLD.wallets()]
TRADES = {wallet: WORLD.truth(wallet) for wallet in WALLETS}
WHALE = max(WALLETS, key=lambda wallet: len(TRADES[wallet]))


def fetched(
    source: MemorySource,
    store: Directory,
    wallets: Sequence[str] = WALLETS,
    *,
    concurrency: int = 4,
    known: Callable[[str], Sequence[Segment]] = lambda wallet: (),
    segment_bytes: int = 7_500_000,
) -> list[Fetched | Failed]:
    fetcher = Fetcher(
        source,
        store,
        concurrency=concurrency,
        known=known,
        coverage=CoverageWriter(store, "test"),
        progress=Progress(),
        segment_bytes=segment_bytes,
    )

    async def run() -> list[Fetched | Failed]:
        return [outcome async for outcome in fetcher.fetch(wallets)]

    outcomes = asyncio.run(run())
    for outcome in outcomes:
        for name in outcome.leftovers if isinstance(outcome, Fetched) else ():
            store.delete(name)  # as the pipeline does when the wallet is recorded
    return outcomes


def rows_in(store: Directory, wallet: str) -> int:
    names = [item.name for item in store.list(wallet_prefix(wallet))]
    return sum(len(gzip.decompress(store.read(name)).splitlines()) for name in names)


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "store")


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("segment_bytes", [1, 7_500_000])
def test_every_wallet_is_covered_from_the_beginning_with_every_trade_once(
    store: Directory, concurrency: int, segment_bytes: int
):
    source = MemorySource(TRADES)
    outcomes = fetched(source, store, concurrency=concurrency, segment_bytes=segment_bytes)
    done = {o.wallet: o for o in outcomes if isinstance(o, Fetched)}
    assert len(outcomes) == len(done) == len(WALLETS)
    for wallet, outcome in done.items():
        assert is_whole(outcome.segments, UNTIL)
        assert outcome.covered_until == UNTIL
        assert sum(segment.rows for segment in outcome.segments) == len(TRADES[wallet])
        assert rows_in(store, wallet) == outcome.new_rows == len(TRADES[wallet])
    assert sum(o.requests for o in done.values()) == len(source.asked)


def test_what_is_stored_is_not_asked_for_again(store: Directory):
    first = fetched(MemorySource(TRADES), store)
    stated = [o.statement for o in first if isinstance(o, Fetched) and o.statement]
    CoverageWriter(store, "test").add(stated)
    known = {o.wallet: o.segments for o in first if isinstance(o, Fetched)}
    source = MemorySource(TRADES)
    second = fetched(source, store, known=lambda wallet: known[wallet])
    assert source.asked == []
    assert {o.wallet: o.segments for o in second if isinstance(o, Fetched)} == known
    assert all(isinstance(o, Fetched) and not o.new_rows for o in second)


def test_an_idle_budget_is_used_for_the_older_part_of_a_whale(store: Directory):
    source = MemorySource(TRADES, limit=10)
    (outcome,) = fetched(source, store, [WHALE], concurrency=4)
    assert isinstance(outcome, Fetched)
    assert len({span for _, span in source.asked}) > 1
    assert rows_in(store, WHALE) == len(TRADES[WHALE])


def test_with_one_request_at_a_time_nothing_is_split(store: Directory):
    source = MemorySource(TRADES, limit=10)
    (outcome,) = fetched(source, store, [WHALE], concurrency=1)
    assert isinstance(outcome, Fetched)
    assert {span for _, span in source.asked} == {Interval(BEGINNING, UNTIL)}


def test_a_wallet_that_fails_holds_up_no_other_and_keeps_what_was_whole(store: Directory):
    pages: list[str] = []

    def fails(wallet: str) -> Exception | None:
        pages.append(wallet)
        return TransientError("503") if wallet == WHALE and pages.count(WHALE) == 20 else None

    outcomes = fetched(MemorySource(TRADES, limit=10, fails=fails), store, concurrency=1)
    (failure,) = [o for o in outcomes if isinstance(o, Failed)]
    assert (failure.wallet, failure.kind, failure.tried) == (WHALE, Kind.TRANSIENT, True)
    assert len(outcomes) == len(WALLETS)
    kept = rows_in(store, WHALE)
    assert 0 < kept < len(TRADES[WHALE])
    source = MemorySource(TRADES, limit=10)
    (outcome,) = fetched(source, store, [WHALE])
    assert isinstance(outcome, Fetched)
    assert outcome.new_rows == len(TRADES[WHALE]) - kept
    assert rows_in(store, WHALE) == len(TRADES[WHALE])


def test_an_exception_that_nobody_foresaw_is_its_wallets_failure_with_a_traceback(
    store: Directory,
):
    bad = WALLETS[3]
    source = MemorySource(TRADES, fails=lambda w: KeyError("odd") if w == bad else None)
    outcomes = fetched(source, store)
    (failure,) = [o for o in outcomes if isinstance(o, Failed)]
    assert (failure.wallet, failure.kind) == (bad, Kind.INTERNAL)
    assert "KeyError" in failure.traceback


def test_a_lost_lock_stops_everything_and_is_no_wallets_failure(store: Directory):
    source = MemorySource(TRADES, fails=lambda wallet: LockLost("another run has the lock"))
    with pytest.raises(LockLost):
        fetched(source, store)


def test_without_a_horizon_nothing_is_asked_for_and_every_wallet_says_why(store: Directory):
    source = MemorySource(TRADES)
    source.horizon_errors = [TransientError("the feed trails by two hours")]
    outcomes = fetched(source, store)
    assert source.asked == []
    assert {o.wallet for o in outcomes} == set(WALLETS)
    assert all(
        isinstance(o, Failed)
        and not o.tried
        and o.reason == "not tried: the feed trails by two hours"
        for o in outcomes
    )


def attempts(outcomes: list[Fetched | Failed]) -> int:
    return sum(isinstance(o, Fetched) or o.tried for o in outcomes)


def test_a_source_that_is_up_is_asked_for_its_state_and_given_up_after_many_outages(
    store: Directory,
):
    source = MemorySource(TRADES, fails=lambda wallet: TransientError("503"))
    outcomes = fetched(source, store, concurrency=1)
    assert attempts(outcomes) == HOPELESS_AFTER
    # Once at the start, and after each outage from the eighth on: it says that it is up.
    assert source.horizons == 1 + HOPELESS_AFTER - DOWN_AFTER
    skipped = [o for o in outcomes if isinstance(o, Failed) and not o.tried]
    assert len(skipped) == len(WALLETS) - HOPELESS_AFTER
    assert "503" in skipped[0].reason


def test_a_source_that_says_that_it_is_down_is_left_alone_at_once(store: Directory):
    source = MemorySource(TRADES, fails=lambda wallet: TransientError("503"))
    source.horizon_errors = [None, TransientError("down for maintenance")]
    outcomes = fetched(source, store, concurrency=1)
    assert attempts(outcomes) == DOWN_AFTER
    assert "down for maintenance" in outcomes[-1].reason  # type: ignore[union-attr]


def test_without_a_connection_its_state_is_asked_for_at_once(store: Directory):
    source = MemorySource(TRADES, fails=lambda wallet: Unreachable("refused"))
    source.horizon_errors = [None, Unreachable("refused")]
    assert attempts(fetched(source, store, concurrency=1)) == 1


def test_one_success_resets_the_count_of_outages(store: Directory):
    """Seven outages, a success, and so on: never eight in a row, so all wallets are tried."""
    good = set(WALLETS[DOWN_AFTER - 1 :: DOWN_AFTER])
    source = MemorySource(
        TRADES, fails=lambda wallet: None if wallet in good else TransientError("503")
    )
    outcomes = fetched(source, store, concurrency=1)
    assert attempts(outcomes) == len(WALLETS) > HOPELESS_AFTER
    assert source.horizons == 1, "its state was asked for though it answers"
    assert {o.wallet for o in outcomes if isinstance(o, Fetched)} == good


def test_a_full_store_stops_the_fetch_after_so_many_wallets_and_leaves_the_source_alone(
    store: Directory, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(store, "create", full)
    source = MemorySource(TRADES)
    outcomes = fetched(source, store, concurrency=1)
    assert attempts(outcomes) == DOWN_AFTER
    assert source.horizons == 1
    assert "the store failed" in outcomes[-1].reason  # type: ignore[union-attr]


def test_refused_wallets_say_nothing_about_the_source(store: Directory):
    source = MemorySource(TRADES, fails=lambda wallet: PermanentError("404"))
    assert attempts(fetched(source, store, concurrency=1)) == len(WALLETS)
