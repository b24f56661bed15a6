"""The trades that the sample API serves."""

import bisect
import threading
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

SMALLEST_SHARES = 0.01
"""Data API v2 does not serve smaller fills. Those in given files were served, so they are
served."""


class Trade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One fill of one wallet.

    `served_wallet` is the address in the case the API serves it in. `dust` is never served.
    """

    served_wallet: str
    timestamp: int
    sequence: int
    tx_hash: str
    log_index: int
    side: str
    token_id: str
    condition_id: str
    size: float
    price: float
    outcome: str
    outcome_index: int
    title: str
    slug: str
    maker: bool
    order_hash: str
    taker: str
    dust: bool = False

    @property
    def wallet(self) -> str:
        """The address in lower case."""
        return self.served_wallet.lower()

    @property
    def position(self) -> tuple[int, int]:
        """Where the trade stands in time: (timestamp, sequence)."""
        return (self.timestamp, self.sequence)


_POSITION = attrgetter("position")


class World:
    """Wallets and their trades, oldest first; safe to change while it is served."""

    def __init__(self) -> None:
        self._trades: dict[str, list[Trade]] = {}
        self._listed: dict[str, str] = {}
        self.names: dict[str, str] = {}
        """The display names that people chose, by wallet in lower case."""
        self._lock = threading.Lock()

    def add_wallet(self, address: str) -> None:
        """A wallet that may have no trades, listed in the case given."""
        with self._lock:
            self._trades.setdefault(address.lower(), [])
            self._listed.setdefault(address.lower(), address)

    def add(self, trades: Iterable[Trade]) -> None:
        """More trades, of new wallets or of those there are."""
        by_wallet: dict[str, list[Trade]] = {}
        for trade in trades:
            by_wallet.setdefault(trade.wallet, []).append(trade)
        for wallet, new in by_wallet.items():
            self.add_wallet(new[0].served_wallet)
            with self._lock:
                self._trades[wallet] = sorted(self._trades[wallet] + new, key=_POSITION)

    def wallets(self) -> list[str]:
        """All addresses, in the case in which they were added."""
        with self._lock:
            return list(self._listed.values())

    def name(self, wallet: str) -> str:
        """The display name of a wallet; every third has none."""
        made = "" if int(wallet[-2:], 16) % 3 == 0 else f"Sample-Trader-{wallet[-4:].lower()}"
        return self.names.get(wallet.lower(), made)

    def trades(self, wallet: str) -> Sequence[Trade]:
        """All trades of a wallet, oldest first; none for an unknown wallet."""
        with self._lock:
            return self._trades.get(wallet.lower(), [])

    def truth(self, wallet: str) -> list[Trade]:
        """The trades of a wallet that a complete walk gets, newest first."""
        return [t for t in reversed(self.trades(wallet)) if not t.dust]

    def count(self) -> int:
        """All trades that complete walks get."""
        return sum(len(self.truth(wallet)) for wallet in self.wallets())

    def older(self, wallet: str, position: tuple[int, ...]) -> Iterable[Trade]:
        """Trades of a wallet strictly before `position`, newest first."""
        trades = self.trades(wallet)
        for index in range(bisect.bisect_left(trades, position, key=_POSITION) - 1, -1, -1):
            yield trades[index]


def v2_row(trade: Trade) -> dict[str, Any]:
    """The trade as a row of Data API v2: the 19 documented fields."""
    return {
        "proxy_wallet": trade.served_wallet,
        "side": trade.side,
        "token_id": trade.token_id,
        "condition_id": trade.condition_id,
        "size": trade.size,
        "price": trade.price,
        "timestamp": trade.timestamp,
        "title": trade.title,
        "slug": trade.slug,
        "icon": "",
        "event_slug": trade.slug,
        "outcome": trade.outcome,
        "outcome_index": trade.outcome_index,
        "name": "",
        "pseudonym": "Sample-Trader",
        "bio": "",
        "profile_image": "",
        "profile_image_optimized": "",
        "transaction_hash": trade.tx_hash,
    }


def dome_row(trade: Trade) -> dict[str, Any]:
    """The trade as a row of Dome's contract: its 16 fields, raw shares in millionths."""
    return {
        "token_id": trade.token_id,
        "token_label": trade.outcome,
        "side": trade.side,
        "market_slug": trade.slug,
        "condition_id": trade.condition_id,
        "shares": round(trade.size * 1_000_000),
        "shares_normalized": trade.size,
        "price": trade.price,
        "block_number": trade.timestamp // 2,
        "log_index": trade.log_index,
        "tx_hash": trade.tx_hash,
        "title": trade.title,
        "timestamp": trade.timestamp,
        "order_hash": trade.order_hash,
        "user": trade.served_wallet,
        "taker": trade.taker,
    }


def from_v2_rows(rows: Sequence[dict[str, Any]], sequence: int = 0) -> list[Trade]:
    """Trades from rows of Data API v2, newest first as they stand there.

    Data that such rows lack is made up: every second fill is the maker's.
    """
    return [
        Trade(
            served_wallet=row["proxy_wallet"],
            timestamp=row["timestamp"],
            sequence=sequence - number,
            tx_hash=row["transaction_hash"],
            log_index=len(rows) - number,
            side=row["side"],
            token_id=row["token_id"],
            condition_id=row["condition_id"],
            size=row["size"],
            price=row["price"],
            outcome=row["outcome"],
            outcome_index=row["outcome_index"],
            title=row["title"],
            slug=row["slug"],
            maker=number % 2 == 0,
            order_hash="0x" + "0" * 64,
            taker="0x" + "0" * 40,
        )
        for number, row in enumerate(rows)
    ]


def load_directory(directory: Path) -> World:
    """The world of all `*.jsonl` files in `directory` whose rows are those of Data API v2.

    Raises ValueError if there is none.
    """
    world = World()
    for path in sorted(directory.glob("*.jsonl")):
        rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line]
        if rows and "proxy_wallet" in rows[0]:
            world.add(from_v2_rows(rows))
    if not world.wallets():
        raise ValueError(f"no *.jsonl file with Data API v2 rows in {directory}")
    return world
