"""The progress of a fetch: counted by the fetcher, read by the display."""

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

SAMPLES = 1000


class Sample(NamedTuple):
    """The progress at one moment: seconds since the start, wallets ended, trades, requests."""

    seconds: float
    ended: int
    trades: int
    requests: int


class Progress(msgspec.Struct):
    """Counters of one fetch; watched while it runs, and summed up at its end.

    `trades` are rows served, `recorded_rows` those of them that are new and recorded, `requests`
    HTTP requests of all kinds, `failed` wallets. `fetching` says that wallets are being fetched:
    only then does silence mean that the run is stuck. Other work is a step, with a name.
    """

    wallets: int = 0
    done: int = 0
    trades: int = 0
    recorded_rows: int = 0
    requests: int = 0
    failed: int = 0
    fetching: bool = False
    step: str = ""
    step_done: int = 0
    step_total: int = 0
    started: float = msgspec.field(default_factory=time.monotonic)
    samples: list[Sample] = []

    def begin_fetch(self, wallets: int) -> None:
        """Starts a fetch of so many wallets; requests and trades go on being counted."""
        self.begin("")
        self.wallets, self.done, self.failed, self.fetching = wallets, 0, 0, True

    def begin(self, step: str, total: int = 0) -> None:
        """Starts a step of `total` parts, if that is known; an empty name ends it."""
        self.step, self.step_done, self.step_total = step, 0, total

    @property
    def share(self) -> tuple[int, int]:
        """(done, total) of what is under way; total is 0 if unknown."""
        if self.step:
            return self.step_done, self.step_total
        return self.done + self.failed, self.wallets

    @property
    def state(self) -> tuple[object, ...]:
        """A value that changes with any progress."""
        return self.requests, self.trades, self.done, self.failed, self.share

    def sample(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes a sample for the chart; keeps a bounded number of samples."""
        if self.wallets and not self.step:
            ended = self.done + self.failed
            self.samples.append(Sample(clock() - self.started, ended, self.trades, self.requests))
        if len(self.samples) > SAMPLES:
            del self.samples[1::2]

    def page(self, rows: int) -> None:
        """Counts one page of `rows` trades."""
        self.trades += rows

    def request(self) -> None:
        """Counts one request that was sent."""
        self.requests += 1

    def line(self, clock: Callable[[], float] = time.monotonic) -> str:
        """One line for a log: wallets, trades, requests a second, time left, failures."""
        if self.step:
            if not self.step_done and not self.step_total:
                return self.step
            total = f"/{self.step_total:,}" if self.step_total else ""
            return f"{self.step}: {self.step_done:,}{total}"
        seconds = max(clock() - self.started, 1e-9)
        ended = self.done + self.failed
        left = f"{seconds / ended * (self.wallets - ended):.0f} s left" if ended else "starting"
        return (
            f"{ended:,}/{self.wallets:,} wallets, {self.trades:,} trades,"
            f" {self.requests / seconds:.1f} requests/s, {left}, {self.failed} failed"
        )
