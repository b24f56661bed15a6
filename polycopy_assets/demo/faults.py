"""How the sample API fails on demand; every fault is counted."""

import random
import threading
from collections import Counter
from collections.abc import Mapping

import msgspec

from polycopy_assets.demo.bad_answers import BAD_ANSWERS
from polycopy_assets.demo.endless import ENDLESS
from polycopy_assets.demo.lies import LIES
from polycopy_assets.demo.odd_rows import ODD_ROWS

RANDOM_FAULTS = (
    "rate_limited",
    "rate_limited_html",
    "server_error",
    "unavailable",
    "reset",
    "truncated",
    "hang",
)
"""429 in JSON, 429 in HTML with `Retry-After: 0`, 500, 503, connection closed without an answer,
a 200 whose JSON is cut somewhere, silence for `hang_seconds`: what every network does now and then.
`BAD_ANSWERS` can come at random as well."""

WALLET_FAULTS = (
    "400",
    "401",
    "404",
    "500",
    "repeated_cursor",
    "has_more_without_cursor",
    "out_of_bounds",
    "foreign_row",
    "oversized_page",
    "wrong_order",
    "missing_field",
    "repeated_page",
    "extra_field",
    *ODD_ROWS,
    *BAD_ANSWERS,
    *ENDLESS,
    "unknown_type",
    *LIES,
)
"""Faults that one wallet can get every time. All break the contract, refuse, or do not end, except
`extra_field`, `unknown_type` (a row of activity of a type that nobody knows), most odd rows and the
lies. `activity:NAME`, `trades:NAME` or `combos:NAME` is the fault of one feed alone; combos have
only refusals and lies."""

FEEDS = ("trades", "activity", "tips", "combos")


class Faults:
    """Rates of random faults and faults of single wallets; thread-safe.

    `slow_seconds` pass after each byte of a slow body; a bomb unpacks to `bomb_bytes`.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        hang_seconds: float = 5.0,
        slow_seconds: float = 1.0,
        bomb_bytes: int = 1_500_000_000,
    ) -> None:
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        self.hang_seconds = hang_seconds
        self.slow_seconds = slow_seconds
        self.bomb_bytes = bomb_bytes
        self.rates: dict[str, float] = {}
        self.wallets: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def set(self, rates: Mapping[str, float]) -> None:
        """Rates from 0 to 1 by fault; raises ValueError for a fault that does not exist."""
        for name in rates:
            if name not in (*RANDOM_FAULTS, *BAD_ANSWERS):
                there_are = ", ".join((*RANDOM_FAULTS, *BAD_ANSWERS))
                raise ValueError(f"no such fault: {name}; there are {there_are}")
        self.rates = dict(rates)

    def set_wallets(self, wallets: Mapping[str, str]) -> None:
        """Faults by wallet; raises ValueError for a fault that does not exist."""
        for name in wallets.values():
            feed, _, fault = name.rpartition(":")
            if fault not in WALLET_FAULTS or feed not in ("", *FEEDS):
                raise ValueError(f"no such fault: {name}; there are {', '.join(WALLET_FAULTS)}")
        self.wallets = {wallet.lower(): name for wallet, name in wallets.items()}

    def draw(self) -> str | None:
        """The fault that this request meets, if any; counts it."""
        with self._lock:
            point = self._rng.random()
            for name, rate in self.rates.items():
                if point < rate:
                    self.counts[name] += 1
                    return name
                point -= rate
        return None

    def number(self, below: int) -> int:
        """A random number from 0 to less than `below`."""
        with self._lock:
            return self._rng.randrange(below)

    def named(self, wallet: str, feed: str) -> str | None:
        """The fault that one wallet has in a feed, if it has one; not counted."""
        only, _, name = self.wallets.get(wallet.lower(), "").rpartition(":")
        return name or None if only in ("", feed) else None

    def of(self, wallet: str, feed: str = "trades") -> str | None:
        """The fault that one wallet has in a feed, if it has one; counts it."""
        name = self.named(wallet, feed)
        if name:
            with self._lock:
                self.counts[name] += 1
        return name


class Asked(msgspec.Struct, frozen=True):
    """A request of a feed that was answered: what was asked, and the rows that were served."""

    wallet: str
    start: int
    end: int
    first_page: bool
    rows: int
    newest: int | None
    oldest: int | None


class Counts:
    """What the sample API was asked of one feed, of counts and of boards; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Back to zero."""
        with self._lock:
            self.arrivals: list[float] = []
            self.requests: Counter[str] = Counter()
            self.rows: Counter[str] = Counter()
            self.log: list[Asked] = []
            self.count_arrivals: list[float] = []
            self.count_requests: Counter[str] = Counter()
            self.board_arrivals: list[float] = []

    def arrived(self, wallet: str, at: float) -> None:
        """A request of the feed, whatever its result."""
        with self._lock:
            self.arrivals.append(at)
            self.requests[wallet.lower()] += 1

    def count_arrived(self, wallet: str, at: float) -> None:
        """A request for a wallet's count, whatever its result."""
        with self._lock:
            self.count_arrivals.append(at)
            self.count_requests[wallet.lower()] += 1

    def board_arrived(self, _: str, at: float) -> None:
        """A request for a board, whatever its result."""
        with self._lock:
            self.board_arrivals.append(at)

    def served(self, asked: Asked) -> None:
        """A request of the feed that got its rows."""
        with self._lock:
            self.rows[asked.wallet] += asked.rows
            self.log.append(asked)

    @property
    def trade_requests(self) -> int:
        """All trade requests."""
        return len(self.arrivals)
