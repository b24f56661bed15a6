"""When a fetch has to end, and what it does with what is under way."""

import asyncio
from pathlib import Path

import click
import pytest

from polycopy_assets.cli.duration import Duration
from polycopy_assets.errors import OutOfTime
from polycopy_assets.fetch.deadline import (
    ANSWER_SECONDS,
    ANSWER_SECONDS_TOLD,
    STORE_SECONDS,
    STORE_SECONDS_TOLD,
    Deadline,
    Timed,
)
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Page
from polycopy_assets_tests.engines import TRADES, WALLETS, Engine
from polycopy_assets_tests.fakes.memory import UNTIL, MemorySource

GRACE_SECONDS = 10
SPAN = Interval(1, 2)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def stages(deadline: Deadline) -> tuple[bool, bool, bool, bool]:
    return deadline.told, deadline.reached, deadline.cut, deadline.abandoned


def test_without_a_limit_it_never_comes():
    clock = Clock()
    deadline = Deadline(clock=clock)
    clock.now += 10**9
    assert not deadline.limited
    assert stages(deadline) == (False, False, False, False)
    deadline.check()


def test_when_the_time_is_up_answers_and_segments_have_some_more():
    clock = Clock()
    deadline = Deadline(50, clock=clock)
    for now, expected in (
        (149.9, (False, False, False, False)),
        (150.0, (False, True, False, False)),
        (150.0 + ANSWER_SECONDS, (False, True, True, False)),
        (150.0 + STORE_SECONDS, (False, True, True, True)),
    ):
        clock.now = now
        assert stages(deadline) == expected, now
    with pytest.raises(OutOfTime, match="the time is up"):
        deadline.check()


@pytest.mark.parametrize("way", ["tell", "listen"])
def test_told_to_stop_it_takes_less_than_half_of_what_there_is_until_the_kill(way: str):
    clock, deadline_told = Clock(), []
    deadline = Deadline(3000, clock=clock)
    deadline.listen(lambda: bool(deadline_told))
    assert stages(deadline) == (False, False, False, False)
    if way == "tell":
        deadline.tell()
    else:
        deadline_told.append(True)
    assert stages(deadline) == (True, True, False, False)
    clock.now += ANSWER_SECONDS_TOLD
    assert stages(deadline) == (True, True, True, False)
    deadline.tell()  # once more: the seconds do not begin again
    clock.now = 100.0 + STORE_SECONDS_TOLD
    assert stages(deadline) == (True, True, True, True)
    assert STORE_SECONDS_TOLD < GRACE_SECONDS / 2
    with pytest.raises(OutOfTime, match="told to stop"):
        deadline.check()


class Silent(MemorySource):
    """A source that never answers, and notices when nobody waits any more."""

    cancelled = 0

    async def page(self, wallet: str, span: Interval, cursor: str | None) -> Page:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await super().page(wallet, span, cursor)


def test_an_answer_that_does_not_come_is_given_up_and_nothing_is_asked_after_that():
    async def asking() -> None:
        clock = Clock()
        deadline, source = Deadline(5, clock=clock), Silent(TRADES)
        timed = Timed(source, deadline)
        waiting = asyncio.ensure_future(timed.page(WALLETS[0], SPAN, None))
        await asyncio.sleep(0.05)
        clock.now += 5 + ANSWER_SECONDS
        with pytest.raises(OutOfTime):
            await waiting
        assert source.cancelled == 1
        with pytest.raises(OutOfTime):
            await timed.page(WALLETS[0], SPAN, None)
        with pytest.raises(OutOfTime):
            await timed.horizon()
        assert source.horizons == 0

    asyncio.run(asking())


def test_a_cancelled_wait_cancels_the_request_as_well():
    async def asking() -> None:
        source = Silent(TRADES)
        waiting = asyncio.ensure_future(Timed(source, Deadline(50)).page(WALLETS[0], SPAN, None))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert source.cancelled == 1

    asyncio.run(asking())


def test_a_fetch_out_of_time_counts_what_is_left_and_no_wallet_has_failed(engine: Engine):
    """The time is up in the middle of a wallet of several pages."""
    clock = Clock()
    engine.deadline = Deadline(10, clock=clock)
    asked = []

    def on_request() -> None:
        asked.append(True)
        if len(asked) == 3:
            clock.now += 10

    source = MemorySource(TRADES, limit=50, on_request=on_request)
    report = engine.fetch(source)
    assert len(asked) == 3
    assert not report.failures
    assert report.left == len(WALLETS) - report.recorded > 0
    assert not report.down
    kept = list(engine.store.list(f"trades/{WALLETS[0]}/"))
    assert kept, "what was served of the wallet is kept, though it is not complete"
    assert WALLETS[0] not in engine.record.recorded
    engine.deadline = Deadline()
    source = MemorySource(TRADES, limit=50)
    second = engine.fetch(source)
    assert second.left == 0
    spans = [span for wallet, span in source.asked if wallet == WALLETS[0]]
    assert all(span.until < UNTIL for span in spans), "it goes on behind what is kept"
    assert set(engine.record.recorded) == set(WALLETS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50m", 3000), ("20h", 72_000), ("1h30m", 5400), ("90s", 90), ("1d", 86_400)],
)
def test_a_duration_is_read(text: str, seconds: int):
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "0s", "5 m", "5M", "1h-1m", "٣m", "9999999d"])
def test_anything_else_is_refused(text: str):
    with pytest.raises(click.UsageError, match="is not a duration such as 50m"):
        Duration().convert(text, None, None)
