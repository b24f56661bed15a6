"""Wallets are recorded in batches: soon, each once, and only what is really written counts."""

from pathlib import Path

import msgspec
import pytest

from polycopy_assets.errors import LockLost
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.pipeline import fetch as pipeline_fetch
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets_tests.engines import TRADES, WALLETS, Engine
from polycopy_assets_tests.fakes.memory import UNTIL, MemorySource
from polycopy_assets_tests.of_trades import COVERAGE


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def test_wallets_are_recorded_in_batches(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pipeline_fetch, "BATCH", 4)
    monkeypatch.setattr(pipeline_fetch, "BATCH_SECONDS", 60.0)
    report = engine.fetch(MemorySource(TRADES))
    assert engine.record.batches == [4, 4, 2]
    assert engine.record.calls == [("recorded", wallet) for wallet in WALLETS]
    assert (report.recorded, engine.progress.done) == (len(WALLETS), len(WALLETS))


class LaterSource(MemorySource):
    """The same trades some time later."""

    async def horizon(self) -> Horizon:
        return Horizon(until=UNTIL + 1000, at=UNTIL + 1000)


def test_wallets_without_news_share_a_coverage_object(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    engine.fetch(MemorySource(TRADES))
    before = {item.name for item in engine.store.list(COVERAGE)}
    for name, value in {"BATCH": 1, "BATCH_SECONDS": 0.0, "QUIET": 4, "QUIET_SECONDS": 60}.items():
        monkeypatch.setattr(pipeline_fetch, name, value)
    with_news = WALLETS[5]
    late = msgspec.structs.replace(TRADES[with_news][-1], timestamp=UNTIL + 500)
    trades = {**TRADES, with_news: [*TRADES[with_news], late]}
    report = engine.fetch(LaterSource(trades))
    assert (report.recorded, report.new_rows) == (len(WALLETS), 1)
    assert engine.record.batches[-3:] == [4, 2, 4], "news does not wait for the others"
    assert len({item.name for item in engine.store.list(COVERAGE)} - before) == 3
    assert set(engine.record.covered_until.values()) == {UNTIL + 1000}


def test_a_wallet_is_recorded_while_the_next_one_is_still_being_fetched(engine: Engine):
    first, second = WALLETS[:2]

    def fails(wallet: str) -> Exception | None:
        if wallet == second:
            assert engine.record.noticed.wait(30), "it waits for the end of the fetch"
            assert list(engine.record.recorded) == [first]
        return None

    report = engine.fetch(MemorySource(TRADES, fails=fails), [first, second])
    assert (report.recorded, report.failures) == (2, [])


def test_a_lost_lock_ends_the_fetch_and_what_was_recorded_stays(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """What was not recorded is not either then: another run may have recorded newer coverage."""
    monkeypatch.setattr(pipeline_fetch, "BATCH", 2)
    monkeypatch.setattr(pipeline_fetch, "BATCH_SECONDS", 60.0)
    asked: list[str] = []

    def fails(wallet: str) -> Exception | None:
        asked.append(wallet)
        return LockLost("another run has the lock") if wallet == WALLETS[3] else None

    with pytest.raises(LockLost):
        engine.fetch(MemorySource(TRADES, fails=fails))
    recorded = [("recorded", wallet) for wallet in WALLETS[:2]]
    assert engine.record.calls == [*recorded, ("stopped", "2 recorded")]
    assert WALLETS[4] not in asked


@pytest.mark.parametrize("error", [RuntimeError("unforeseen"), KeyboardInterrupt()])
def test_a_fetch_that_breaks_off_records_what_is_durable(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, error: BaseException
):
    shown: list[int] = []

    def breaking(progress: Progress) -> None:
        shown.append(progress.done)
        if len(shown) == 3:
            raise error

    monkeypatch.setattr(engine.record, "show", breaking)
    with pytest.raises(type(error)):
        engine.fetch(MemorySource(TRADES))
    assert list(engine.record.recorded) == WALLETS[:3]


def test_an_error_of_the_record_ends_the_fetch_and_the_batch_is_not_tried_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    tried: list[str] = []

    def broken() -> None:
        tried.append("once")
        raise OSError("the database is gone")

    monkeypatch.setattr(engine.record, "flush", broken)
    with pytest.raises(OSError, match="the database is gone"):
        engine.fetch(MemorySource(TRADES))
    assert tried == ["once"]
    assert engine.record.recorded == {}
    assert engine.record.calls == [("stopped", "0 recorded")]
    assert engine.progress.done == 0
