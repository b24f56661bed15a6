"""The trades that the sample API serves, and the ledgers of wallets that have more than trades."""

import bisect
import threading
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from polycopy_assets.demo.combos import Combos
from polycopy_assets.demo.entry import MICRO, TRADE, Entry, Standing
from polycopy_assets.demo.market import MarketFacts

SMALLEST_SHARES = 0.01
"""Data API v2 does not serve smaller fills. Those in given files were served, so they are
served."""


class Trade(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One fill of one wallet.

    `served_wallet` is the address in the case the API serves it in. `dust` is never served.
    `event_slug` is the slug, unless the market is one of several of an event.
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
    event_slug: str | None = None

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
    """Wallets and their trades, oldest first; safe to change while it is served.

    A wallet whose ledger is not known has one that holds its trades alone, without fees.
    `markets` has what is known of markets, by condition; `combos` has what is known of combos;
    `version` changes with every change.
    """

    def __init__(self) -> None:
        self._trades: dict[str, list[Trade]] = {}
        self._ledgers: dict[str, list[Entry]] = {}
        self._standings: dict[str, Standing] = {}
        self._derived: dict[str, tuple[list[Trade], list[Entry]]] = {}
        self.markets: dict[str, MarketFacts] = {}
        self.combos = Combos()
        self.version = 0
        self._listed: dict[str, str] = {}
        self.names: dict[str, str] = {}
        """The display names that people chose, by wallet in lower case."""
        self._lock = threading.RLock()

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
                self.version += 1
                self._trades[wallet] = sorted(self._trades[wallet] + new, key=_POSITION)
                if wallet in self._ledgers:
                    entries = [entry_of(trade) for trade in new]
                    self._ledgers[wallet] = sorted(
                        [*self._ledgers[wallet], *entries], key=_POSITION
                    )
                    if standing := self._standings.get(wallet):
                        _settle(standing, entries)

    def add_ledger(
        self, wallet: str, entries: Iterable[Entry], standing: Standing | None = None
    ) -> None:
        """The whole ledger of a wallet, and what it has in the end; its trades are added with it.

        Trades that the wallet already has are kept instead of those of the ledger.
        """
        self.add_wallet(wallet)
        ordered = sorted(entries, key=_POSITION)
        if not self.trades(wallet):
            self.add(trade_of(entry) for entry in ordered if entry.type == TRADE)
        with self._lock:
            self.version += 1
            self._ledgers[wallet.lower()] = ordered
            if standing:
                self._standings[wallet.lower()] = standing

    def add_entries(self, entries: Iterable[Entry]) -> None:
        """More rows of ledgers, trades among them; what a generator said of the wallets is void."""
        by_wallet: dict[str, list[Entry]] = {}
        for entry in entries:
            by_wallet.setdefault(entry.wallet, []).append(entry)
        for wallet, new in by_wallet.items():
            self.add_wallet(new[0].served_wallet)
            with self._lock:
                ledger = sorted([*self.entries(wallet), *new], key=_POSITION)
                self._ledgers.pop(wallet, None)
                self.add(trade_of(entry) for entry in new if entry.type == TRADE)
                self._ledgers[wallet] = ledger
                self._standings.pop(wallet, None)
                self.version += 1

    def entries(self, wallet: str) -> Sequence[Entry]:
        """The ledger of a wallet, oldest first; none for an unknown wallet."""
        key = wallet.lower()
        with self._lock:
            if key in self._ledgers:
                return self._ledgers[key]
            trades = self._trades.get(key, [])
            if key not in self._derived or self._derived[key][0] is not trades:
                self._derived[key] = (trades, [entry_of(trade) for trade in trades])
            return self._derived[key][1]

    def standing(self, wallet: str) -> Standing | None:
        """What a wallet has, by its generator; None if no generator made its ledger."""
        with self._lock:
            return self._standings.get(wallet.lower())

    def resolve(self, condition: str, payouts: tuple[int, int], at: int) -> None:
        """Ends a market: micro-USDC a share by outcome; raises KeyError for an unknown market."""
        with self._lock:
            market = self.markets[condition]
            self.markets[condition] = msgspec.structs.replace(
                market, payouts=payouts, resolved_at=at
            )
            self.version += 1

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
        "event_slug": trade.slug if trade.event_slug is None else trade.event_slug,
        "outcome": trade.outcome,
        "outcome_index": trade.outcome_index,
        "name": "",
        "pseudonym": "Sample-Trader",
        "bio": "",
        "profile_image": "",
        "profile_image_optimized": "",
        "transaction_hash": trade.tx_hash,
    }


def entry_of(trade: Trade) -> Entry:
    """The trade as a row of a ledger, without a fee; cash is cut to micro-USDC."""
    return Entry(
        served_wallet=trade.served_wallet,
        timestamp=trade.timestamp,
        sequence=trade.sequence,
        tx_hash=trade.tx_hash,
        type=TRADE,
        size=round(trade.size * MICRO),
        usdc=int(round(trade.size * MICRO) * trade.price + 1e-4),
        price=trade.price,
        served_size=trade.size,
        side=trade.side,
        token_id=trade.token_id,
        condition_id=trade.condition_id,
        outcome=trade.outcome,
        outcome_index=trade.outcome_index,
        title=trade.title,
        slug=trade.slug,
        event_slug=trade.slug if trade.event_slug is None else trade.event_slug,
        maker=trade.maker,
    )


def trade_of(entry: Entry) -> Trade:
    """The trade that a row of a ledger is; what such a row lacks is made up from its hash.

    Combos and dust are trades that are never served.
    """
    made_up = int(entry.tx_hash, 16)
    return Trade(
        served_wallet=entry.served_wallet,
        timestamp=entry.timestamp,
        sequence=entry.sequence,
        tx_hash=entry.tx_hash,
        log_index=entry.sequence % 2**31,
        side=entry.side,
        token_id=entry.token_id,
        condition_id=entry.condition_id,
        size=entry.size / MICRO if entry.served_size is None else entry.served_size,
        price=entry.price,
        outcome=entry.outcome,
        outcome_index=entry.outcome_index,
        title=entry.title,
        slug=entry.slug,
        event_slug=entry.event_slug,
        maker=entry.maker,
        order_hash=f"0x{made_up ^ (2**256 - 1):064x}",
        taker=f"0x{made_up % 2**160:040x}",
        dust=not entry.among_trades,
    )


def _settle(standing: Standing, trades: Iterable[Entry]) -> None:
    for trade in trades:
        sign = 1 if trade.side == "BUY" else -1
        standing.cash -= sign * trade.usdc
        held = standing.shares.get(trade.token_id, 0) + sign * trade.size
        standing.shares[trade.token_id] = held


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
