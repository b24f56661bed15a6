"""The progress of a fetch and of what follows it: counted by the work, read by the display."""

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from polycopy_assets.system.step import Step
from polycopy_assets.text import counted, duration

SAMPLES = 1000

RECENT_SECONDS = 10
"""Rates are those of the last seconds: an average since the start hides what happens now."""

LARGE = 10_000
"""A wallet with so many trades counts as large in the line that says what is still fetched."""

SETTLED_SECONDS = 5
"""A fetch that has just begun has no rate from which to tell how long it takes."""

_NAMED = 2
_SENTENCE = ". "
"""A step that waits says in a second sentence what to do: a line of its own on a terminal."""

Clock = Callable[[], float]


class Sample(NamedTuple):
    """The progress at one moment: seconds since the start, wallets ended, trades, requests."""

    seconds: float
    ended: int
    trades: int
    requests: int


class _Recent:
    """How many requests and trades there were in the last seconds."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int, int]] = deque()

    def add(self, now: float, requests: int, trades: int) -> None:
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            _, before, rows = self._seconds[-1]
            self._seconds[-1] = (second, before + requests, rows + trades)
            return
        self._seconds.append((second, requests, trades))
        while self._seconds[0][0] < second - RECENT_SECONDS:
            self._seconds.popleft()

    def forget_rows(self) -> None:
        """Rows that follow are of another feed; requests stay requests."""
        self._seconds = deque((second, requests, 0) for second, requests, _ in self._seconds)

    def rates(self, now: float, since: float) -> tuple[float, float]:
        """Requests and trades a second in the last `RECENT_SECONDS`, or since `since`."""
        first = int(now) - RECENT_SECONDS
        counted = [each for each in tuple(self._seconds) if each[0] > first]
        seconds = max(1.0, min(RECENT_SECONDS, now - since))
        return sum(n for _, n, _ in counted) / seconds, sum(n for _, _, n in counted) / seconds


class Progress(msgspec.Struct):
    """Counters of one fetch; watched while it runs, and summed up at its end.

    `trades` are rows served, `recorded_rows` those of them that are new and recorded, `requests`
    HTTP requests of all kinds, `failed` wallets. `fetching` says that wallets are being fetched:
    only then does silence mean that the run is stuck. `begun` are the wallets that are or were
    fetched, and `running` the rows that each wallet under way was served. `expected` are the
    rows that the fetch will be served, 0 if unknown. Other work is a `step`; what another thread
    does meanwhile is `beside`.

    `row` and `rows` are what people call the rows that are fetched: a command fetches one feed
    after the other, and `served` counts those of the feed that is fetched now or was last.
    """

    wallets: int = 0
    done: int = 0
    trades: int = 0
    recorded_rows: int = 0
    requests: int = 0
    failed: int = 0
    row: str = "trade"
    rows: str = "trades"
    begun: int = 0
    expected: int = 0
    fetching: bool = False
    step: Step = msgspec.field(default_factory=Step)
    beside: Step = msgspec.field(default_factory=Step)
    running: dict[str, int] = {}
    started: float = msgspec.field(default_factory=time.monotonic)
    samples: list[Sample] = []
    _recent: _Recent = msgspec.field(default_factory=_Recent)
    _fetching_since: float = 0.0
    _trades_before: int = 0
    _of_other_feeds: int = 0

    def begin_fetch(
        self, wallets: int, expected: int = 0, row: str = "trade", rows: str = "trades"
    ) -> None:
        """Starts a fetch of so many wallets; requests and rows go on being counted.

        Those of another feed, whose rows have another name, are not shown as rows of this one.
        """
        if row != self.row:
            self.row, self.rows, self._of_other_feeds = row, rows, self.trades
            self._recent.forget_rows()
            self.samples.clear()
        self.begin("")
        self.wallets, self.done, self.failed, self.fetching = wallets, 0, 0, True
        self.begun, self.expected, self._trades_before = 0, expected, self.trades
        self.running.clear()
        self._fetching_since = time.monotonic()

    def begin_wallet(self, wallet: str) -> None:
        """Counts a wallet whose fetch begins."""
        self.begun += 1
        self.running[wallet] = 0

    def end_wallet(self, wallet: str) -> None:
        """The wallet has an outcome, or is left; it counts as done or failed once recorded."""
        self.running.pop(wallet, None)

    def begin(self, step: str, total: int = 0) -> None:
        """Starts a step of `total` parts, if that is known; an empty name ends it."""
        self.step.begin(step, total)

    @property
    def served(self) -> int:
        """How many rows of the feed that is fetched were served, in all its fetches."""
        return self.trades - self._of_other_feeds

    @property
    def share(self) -> tuple[int, int]:
        """(done, total) of what is under way; total is 0 if unknown."""
        if self.step.name:
            return self.step.done, self.step.total
        return self.done + self.failed, self.wallets

    @property
    def state(self) -> tuple[object, ...]:
        """A value that changes with any progress."""
        return self.requests, self.trades, self.done, self.failed, self.share

    def sample(self, clock: Clock = time.monotonic) -> None:
        """Takes a sample for the chart; keeps a bounded number of samples."""
        if self.wallets and not self.step.name:
            ended = self.done + self.failed
            self.samples.append(Sample(clock() - self.started, ended, self.served, self.requests))
        if len(self.samples) > SAMPLES:
            del self.samples[1::2]

    def page(self, wallet: str, rows: int, clock: Clock = time.monotonic) -> None:
        """Counts one page of `rows` rows of the wallet."""
        self.trades += rows
        self._recent.add(clock(), 0, rows)
        if wallet in self.running:
            self.running[wallet] += rows

    def request(self, clock: Clock = time.monotonic) -> None:
        """Counts one request that was sent."""
        self.requests += 1
        self._recent.add(clock(), 1, 0)

    def left(self, clock: Clock = time.monotonic) -> str:
        """How long the fetch takes from now on, as far as it can be told; empty if it cannot.

        "about" by trades if it is known how many there will be. Else "at least": each wallet that
        has not begun takes a request. How many trades it has is known only when it is fetched.
        Nothing in the first `SETTLED_SECONDS`, when the first answers are still on their way.
        """
        now = clock()
        if now - self._fetching_since < SETTLED_SECONDS:
            return ""
        requests, trades = self._recent.rates(now, self._fetching_since)
        if self.expected:
            missing = self.expected - (self.trades - self._trades_before)
            return f"about {duration(missing / trades)} left" if trades and missing > 0 else ""
        waiting = self.wallets - self.begun
        if not requests or waiting <= 0:
            return ""
        return f"at least {duration(waiting / requests)} left"

    def still(self) -> list[str]:
        """The wallets that are still fetched when no other is waiting, in pieces.

        How many they are, then the largest of them. If some are large, they alone are meant.
        """
        running = sorted(self.running.items(), key=lambda each: -each[1])
        if not running or self.begun < self.wallets:
            return []
        large = sum(trades >= LARGE for _, trades in running)
        many = large or len(running)
        named = [
            f"{wallet[:6]}… {counted(trades, *self._plain)}"
            for wallet, trades in running[: min(many, _NAMED)]
        ]
        said = f"still fetching {counted(many, 'large wallet' if large else 'wallet')}:"
        return [f"{said} {named[0]}", *named[1:]]

    @property
    def _plain(self) -> tuple[str, str]:
        """What rows are called where it is known of which feed they are: `row`, `rows`."""
        return self.row.split(" ")[0], self.rows.split(" ")[0]

    def pieces(self, clock: Clock = time.monotonic) -> list[str]:
        """What there is to say, the most important first, in pieces that are not to be cut."""
        if self.step.name:
            return self.step.line().split(_SENTENCE)
        ended = self.done + self.failed
        if not self.wallets:
            return []
        said = [f"{ended:,}/{counted(self.wallets, 'wallet')}"]
        said += [counted(self.served, self.row, self.rows)]
        if not self.fetching:
            return said
        requests, trades = self._recent.rates(clock(), self._fetching_since)
        said += [f"{self.failed:,} failed"] if self.failed else []
        said += [f"{requests:.1f} requests/s", f"{trades:,.0f} {self._plain[1]}/s"]
        said += [self.left(clock), *self.still(), self.beside.line()]
        return [each for each in said if each]

    def line(self, clock: Clock = time.monotonic) -> str:
        """One line for a log: the same pieces, and the time since the start."""
        said = (_SENTENCE if self.step.name else ", ").join(self.pieces(clock))
        return f"{said} ({duration(clock() - self.started)} so far)"
