"""A wallet's positions, worked out from its ledger.

The rule is that of Polymarket's own subgraph (moving average cost, fees left out); which rule the
real `/v2/positions` has is not known. Floats: nothing here must agree to the last digit but sizes.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from polycopy_assets.demo.entry import MICRO, TRADE, Entry
from polycopy_assets.demo.ledger.catalogue import Catalogue
from polycopy_assets.demo.market import OUTCOMES, MarketFacts

HALF = 0.5


class Position(msgspec.Struct):
    """One token of one wallet: shares in millionths, the rest in USDC."""

    held: int = 0
    bought: int = 0
    average: float = 0.0
    realized: float = 0.0
    fees: float = 0.0
    first: int = 0
    last: int = 0

    def buy(self, shares: int, price: float, second: int, fee: float = 0.0) -> None:
        """More shares, at a price."""
        total = self.held + shares
        self.average = (self.average * self.held + price * shares) / total if total else 0.0
        self.held, self.bought = total, self.bought + shares
        self.fees += fee
        self.first, self.last = self.first or second, second

    def sell(self, shares: int, price: float, second: int) -> None:
        """Fewer shares; what is sold beyond what there is came from outside, and earns nothing."""
        shares = min(shares, self.held)
        self.realized += shares / MICRO * (price - self.average)
        self.held -= shares
        self.last = second


def positions_of(entries: Iterable[Entry], catalogue: Catalogue) -> dict[str, Position]:
    """By token; combinations are left out, as in the real listing."""
    found: defaultdict[str, Position] = defaultdict(Position)
    for entry in entries:
        if not entry.is_combo:
            _apply(found, entry, catalogue)
    return dict(found)


def _apply(found: defaultdict[str, Position], entry: Entry, catalogue: Catalogue) -> None:
    market = catalogue.condition(entry.condition_id)
    second = entry.timestamp
    if entry.type == TRADE:
        if entry.side == "BUY":
            fee = max(0.0, entry.usdc / MICRO - entry.size / MICRO * entry.price)
            found[entry.token_id].buy(entry.size, entry.price, second, fee)
        else:
            found[entry.token_id].sell(entry.size, entry.price, second)
    elif entry.type in ("SPLIT", "MERGE") and market:
        for token in market.tokens:
            if entry.type == "SPLIT":
                found[token].buy(entry.size, HALF, second)
            else:
                found[token].sell(entry.size, HALF, second)
    elif entry.type == "REDEEM":
        price = entry.usdc / entry.size if entry.size else 0.0
        if token := entry.token_id or _redeemed(found, entry, market):
            found[token].sell(entry.size, price, second)
    elif entry.type == "CONVERSION":
        event = [m for m in catalogue.event(entry.event_id) if m.neg_risk_id]
        _convert(found, entry, event)


def _redeemed(
    found: defaultdict[str, Position], entry: Entry, market: MarketFacts | None
) -> str | None:
    """The token of a recorded redemption that names none: one of which there was enough."""
    tokens = market.tokens if market else ()
    return next((token for token in tokens if found[token].held >= entry.size), None)


def _convert(found: defaultdict[str, Position], entry: Entry, event: list[MarketFacts]) -> None:
    """Sells No of the chosen questions at its average, and buys Yes of the others with that."""
    count = entry.usdc // entry.size + 1 if entry.size else 0
    chosen = [m for m in event if found[m.tokens[1]].held >= entry.size][:count]
    others = [market for market in event if market not in chosen]
    cost = sum(found[market.tokens[1]].average for market in chosen) - (count - 1)
    for market in chosen:
        position = found[market.tokens[1]]
        position.sell(entry.size, position.average, entry.timestamp)
    for market in others:
        found[market.tokens[0]].buy(entry.size, cost / len(others), entry.timestamp)


def position_row(
    served_wallet: str,
    token: str,
    position: Position,
    market: MarketFacts,
    *,
    at: float,
    mergeable: bool,
) -> dict[str, Any]:
    """The position as `/v2/positions` serves it; prices are cut to four digits."""
    index = market.tokens.index(token)
    resolved = market.resolved(at)
    held = position.held / MICRO
    price = market.price(index, at) / MICRO
    cost = held * position.average
    fees = round(position.fees, 5)
    unrealized = held * price - cost
    bought = position.bought / MICRO * position.average
    return {
        "proxy_wallet": served_wallet,
        "token_id": token,
        "condition_id": market.condition_id,
        "current_size": held,
        "avg_price": int(position.average * 10_000) / 10_000,
        "entry_cost_usdc": round(cost, 4),
        "entry_fees_usdc": fees,
        "total_cost_usdc": round(cost + fees, 4),
        "current_price": price,
        "current_value": round(held * price, 4),
        "total_size": position.bought / MICRO,
        "realized_pnl": round(position.realized, 4),
        "unrealized_pnl": round(unrealized, 4),
        "total_pnl": round(position.realized + unrealized, 4),
        "percent_pnl": round(unrealized / cost * 100, 4) if cost else 0.0,
        "percent_realized_pnl": round(position.realized / bought * 100, 4) if bought else 0.0,
        "status": ("REDEEMABLE" if resolved else "OPEN") if position.held else "CLOSED",
        "redeemable": bool(resolved and position.held),
        "mergeable": mergeable,
        "negative_risk": bool(market.neg_risk_id),
        "archived": False,
        "title": market.question,
        "slug": market.slug,
        "icon": "",
        "event_id": str(market.event_id),
        "event_slug": market.event_slug,
        "outcome": OUTCOMES[index],
        "outcome_index": index,
        "opposite_outcome": OUTCOMES[1 - index],
        "opposite_token_id": market.tokens[1 - index],
        "end_date": "1970-01-01",
        "last_event_at": position.last,
        "first_entry_at": position.first,
        "name": "",
        "profile_image": "",
        "verified": False,
    }
