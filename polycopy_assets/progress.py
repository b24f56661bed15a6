"""How far a fetch is: counted by the fetcher, looked at by whoever shows it."""

import time
from collections.abc import Callable

import msgspec


class Progress(msgspec.Struct):
    """Counters of one fetch; watched while it runs, and summed up when it has ended.

    `trades` are rows served, `stored` new rows of wallets that are done, `requests` HTTP requests
    of all kinds, `failures` (wallet, reason).
    """

    wallets: int = 0
    done: int = 0
    trades: int = 0
    stored: int = 0
    pages: int = 0
    requests: int = 0
    failures: list[tuple[str, str]] = []
    started: float = msgspec.field(default_factory=time.monotonic)

    def page(self, rows: int) -> None:
        """Counts one page of `rows` trades."""
        self.trades += rows

    def request(self) -> None:
        """Counts one request that was sent."""
        self.requests += 1

    def line(self, clock: Callable[[], float] = time.monotonic) -> str:
        """One line for a log: wallets, trades, requests a second, time left, failures."""
        seconds = max(clock() - self.started, 1e-9)
        ended = self.done + len(self.failures)
        left = f"{seconds / ended * (self.wallets - ended):.0f} s left" if ended else "starting"
        return (
            f"{ended:,}/{self.wallets:,} wallets, {self.trades:,} trades,"
            f" {self.requests / seconds:.1f} requests/s, {left}, {len(self.failures)} failed"
        )
