"""What a fetch says of itself: true at every moment, in the words of the last ten seconds."""

from itertools import count

import pytest

from polycopy_assets.cli.display import fitted
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.system.step import Step
from polycopy_assets.text import duration

WHALE, SMALL = "0xabcd" + "0" * 36, "0x1234" + "0" * 36


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, start: float) -> None:
        self.now = start

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(progress: Progress) -> Clock:
    return Clock(progress.started)


@pytest.fixture
def progress() -> Progress:
    progress = Progress()
    progress.begin_fetch(100)
    return progress


def busy(progress: Progress, clock: Clock, seconds: int, requests: int, rows: int = 0) -> None:
    """So many seconds with so many requests, and pages of `rows` trades of the whale, in each."""
    for _ in range(seconds):
        clock.now += 1
        for _ in range(requests):
            progress.request(clock)
            progress.page(WHALE, rows, clock)


def test_a_rate_is_that_of_the_last_ten_seconds(progress: Progress, clock: Clock):
    busy(progress, clock, seconds=100, requests=20, rows=10)
    assert "20.0 requests/s" in progress.line(clock)
    assert "200 trades/s" in progress.line(clock)
    clock.now += 5
    assert "10.0 requests/s" in progress.line(clock)
    clock.now += 6
    assert "0.0 requests/s" in progress.line(clock), "nothing has happened for ten seconds"


def test_a_short_fetch_has_a_rate(progress: Progress, clock: Clock):
    busy(progress, clock, seconds=2, requests=6)
    assert "6.0 requests/s" in progress.line(clock)


def test_what_is_left_is_a_lower_bound_while_the_sizes_are_unknown(
    progress: Progress, clock: Clock
):
    for number in range(20):
        progress.begin_wallet(f"0x{number}")
    busy(progress, clock, seconds=10, requests=2)
    assert progress.left(clock) == "at least 40 s left", "80 wallets, at 2 requests a second"


def test_a_fetch_that_has_just_begun_promises_nothing(progress: Progress, clock: Clock):
    clock.now = progress._fetching_since
    progress.begin_wallet(WHALE)
    busy(progress, clock, seconds=4, requests=1)
    assert progress.left(clock) == "", "the first answers are still on their way"
    busy(progress, clock, seconds=1, requests=1)
    assert progress.left(clock) == "at least 1 min 39 s left"


def test_the_wallets_still_fetched_are_pieces_of_their_own(progress: Progress, clock: Clock):
    progress.begin_fetch(3, row="row of activity", rows="rows of activity")
    for wallet in (SMALL, WHALE, "0x5678"):
        progress.begin_wallet(wallet)
    busy(progress, clock, seconds=1, requests=1, rows=12)
    assert progress.still() == ["still fetching 3 wallets: 0xabcd… 12 rows", "0x1234… 0 rows"]


def test_nothing_is_promised_when_only_large_wallets_are_left(progress: Progress, clock: Clock):
    for number in range(98):
        progress.begin_wallet(f"0x{number}")
        progress.end_wallet(f"0x{number}")
    progress.done = 98
    progress.begin_wallet(WHALE)
    progress.begin_wallet(SMALL)
    busy(progress, clock, seconds=10, requests=2, rows=1000)
    said = progress.line(clock)
    assert " left" not in said
    assert said.endswith("still fetching 1 large wallet: 0xabcd… 20,000 trades (10 s so far)")


def test_the_time_left_goes_by_trades_if_they_are_known(clock: Clock, progress: Progress):
    progress.begin_fetch(100, expected=10_000)
    clock.now = progress._fetching_since
    busy(progress, clock, seconds=10, requests=1, rows=100)
    assert progress.left(clock) == "about 1 min 30 s left", "9,000 trades, at 100 a second"
    busy(progress, clock, seconds=100, requests=1, rows=100)
    assert progress.left(clock) == "", "there are more than were expected"


def test_a_second_fetch_expects_its_own_trades(progress: Progress, clock: Clock):
    busy(progress, clock, seconds=10, requests=1, rows=100)
    progress.begin_fetch(100, expected=500)
    clock.now = progress._fetching_since + 5
    assert progress.left(clock).startswith("about ")


def test_rows_of_another_feed_are_not_called_trades(progress: Progress, clock: Clock):
    busy(progress, clock, seconds=10, requests=1, rows=100)
    progress.sample(clock)
    progress.begin_fetch(1, row="row of activity", rows="rows of activity")
    assert not progress.samples, "the chart would add both up"
    progress.begin_wallet(WHALE)
    busy(progress, clock, seconds=1, requests=1, rows=7)
    said = progress.line(clock)
    assert "0/1 wallet, 7 rows of activity, " in said
    assert "0xabcd… 7 rows" in said
    assert "1.0 requests/s, 1 rows/s" in said
    assert "trade" not in said
    assert (progress.trades, progress.served) == (1007, 7), "both, and those of this feed"


def test_a_phase_has_a_name_and_its_place():
    progress, clock = Progress(), count(0.0).__next__
    progress.step.part("combining 3 of 12", 3, 12)
    assert progress.share == (2, 12)
    assert progress.pieces(clock) == ["combining 3 of 12"]
    progress.begin("verifying segments", 2_000)
    progress.step.done += 1_000
    assert progress.pieces(clock) == ["verifying segments: 1,000/2,000"]


def test_a_wait_says_on_a_line_of_its_own_what_to_do():
    progress = Progress()
    progress.begin("Waiting for run 1a2b3c4d (fetch). If it hangs, end it on host-7: kill -9 7257")
    progress.started = 0.0
    assert progress.pieces()[1] == "If it hangs, end it on host-7: kill -9 7257"
    assert progress.line(lambda: 39.0).endswith(
        "1a2b3c4d (fetch). If it hangs, end it on host-7: kill -9 7257 (39 s so far)"
    )


def test_what_another_thread_does_is_said_beside_the_fetch(progress: Progress, clock: Clock):
    progress.beside.part("loading batch 7", 1, 1)
    assert progress.pieces(clock)[0] == "0/100 wallets"
    assert progress.pieces(clock)[-1] == "loading batch 7"
    progress.step.follow(progress.beside)
    assert progress.pieces(clock) == ["loading batch 7"]
    progress.beside.end()
    progress.step.follow(progress.beside)
    assert progress.step == Step(counted=True), "an ended step has no name"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")],
)
def test_durations(seconds: float, said: str):
    assert duration(seconds) == said


def test_a_line_has_whole_pieces():
    assert fitted(["1,000 trades", "18.3 requests/s", "2 failed"], 32) == [
        "  1,000 trades · 18.3 requests/s",
        "  2 failed",
    ]
    still = ["still fetching 2 large wallets: 0xabcd… 40,000 trades", "0x1234… 20,000 trades"]
    assert fitted(still, 36) == [
        "  still fetching 2 large wallets:",
        "  0xabcd… 40,000 trades",
        "  0x1234… 20,000 trades",
    ]
    assert fitted(["a piece of some length"] * 9, 32) == ["  a piece of some length"] * 4
