"""The boards of a world: who gained and traded how much, who won most, who holds what.

Made from the trades, with a rule that is simple and not Polymarket's own: what a wallet holds is
worth half a dollar a share. Windows end with the newest trade, so that a generated world has all of
them. Dust counts for nothing here.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from polycopy_assets.demo.world import Trade, World

DAY = 86_400
WINDOWS: Mapping[str, int | None] = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY, "all": None}
CATEGORIES = ("politics", "sports", "crypto", "culture", "weather", "tech")
OVERALL = "overall"
MOST_WINS = 500
"""The deepest row of the board of wins, as on the real one."""

WORTH = 0.5
"""USDC a share that is held, whatever its market."""


class _Sum(NamedTuple):
    """Cash in (USDC), shares traded, and shares held of each token."""

    cash: float
    volume: float
    held: Mapping[str, float]

    @property
    def pnl(self) -> float:
        return self.cash + WORTH * sum(self.held.values())


def category_of(trade: Trade) -> str:
    """The category of a trade's market."""
    return CATEGORIES[int(trade.condition_id[2:10], 16) % len(CATEGORIES)]


def leaderboard(world: World, window: str, category: str, by: str) -> list[dict[str, Any]]:
    """Rows of `/v2/leaderboard`, whole; empty for a category that no market has."""
    sums = [(trades[0].served_wallet, _sum(trades)) for trades in _chosen(world, window, category)]
    key = "pnl" if by == "PNL" else "volume"
    sums.sort(key=lambda item: (-getattr(item[1], key), item[0]))
    return [
        {
            "rank": rank,
            "user_id": wallet,
            "pnl": total.pnl,
            "volume": total.volume,
            "user_name": world.name(wallet),
            "profile_image": "",
            "x_username": "",
            "verified": False,
        }
        for rank, (wallet, total) in enumerate(sums, start=1)
    ]


def winners(world: World, window: str, category: str) -> list[dict[str, Any]]:
    """Rows of `/v2/biggest-winners`: one for each position that gained, at most `MOST_WINS`."""
    wins = []
    for trades in _chosen(world, window, category):
        by_market = defaultdict(list)
        for trade in trades:
            by_market[trade.condition_id].append(trade)
        wins += [(_sum(some).pnl, some[-1]) for some in by_market.values()]
    best = sorted((win for win in wins if win[0] > 0), key=lambda win: (-win[0], win[1].tx_hash))
    return [
        {
            "win_rank": rank,
            "kind": "market",
            "user_id": trade.served_wallet,
            "pnl": pnl,
            "initial_value": 0.0,
            "final_value": pnl,
            "resolved_at": trade.timestamp,
            "condition_id": trade.condition_id,
            "position_id": trade.token_id,
            "event_id": 1,
            "event_slug": trade.slug,
            "event_title": trade.title,
            "user_name": world.name(trade.served_wallet),
            "profile_image": "",
        }
        for rank, (pnl, trade) in enumerate(best[:MOST_WINS], start=1)
    ]


def holders(world: World, condition: str) -> dict[str, list[dict[str, Any]]]:
    """By token, who holds shares of the market `condition`, the largest holding first."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for wallet in world.wallets():
        trades = [t for t in world.truth(wallet) if t.condition_id == condition]
        for token, held in _sum(trades).held.items():
            if held > 0:
                outcome = next(t.outcome_index for t in trades if t.token_id == token)
                found[token].append(_holder(world, wallet, token, held, outcome))
    for rows in found.values():
        rows.sort(key=lambda row: (-row["amount"], row["proxy_wallet"]))
    return dict(sorted(found.items()))


def condition_of(world: World, slug: str) -> str | None:
    """The condition id of the market with this slug, if a wallet has traded in it."""
    for wallet in world.wallets():
        for trade in world.trades(wallet):
            if trade.slug == slug:
                return trade.condition_id
    return None


def _holder(world: World, wallet: str, token: str, held: float, outcome: int) -> dict[str, Any]:
    return {
        "proxy_wallet": wallet,
        "bio": "",
        "token_id": token,
        "pseudonym": "Sample-Trader",
        "amount": held,
        "display_username_public": True,
        "outcome_index": outcome,
        "name": world.name(wallet),
        "profile_image": "",
        "profile_image_optimized": "",
        "verified": False,
        "avg_price": WORTH,
        "entry_cost_usdc": WORTH * held,
        "current_price": WORTH,
        "current_value": WORTH * held,
        "realized_pnl": 0.0,
        "unrealized_pnl": 0.0,
        "total_pnl": 0.0,
    }


def _chosen(world: World, window: str, category: str) -> Iterable[Sequence[Trade]]:
    """The trades of each wallet that has any in the window and the category, newest first."""
    every = [world.truth(wallet) for wallet in world.wallets()]
    newest = max((trades[0].timestamp for trades in every if trades), default=0)
    length = WINDOWS[window]
    after = newest - length if length else -1
    for trades in every:
        some = [
            trade
            for trade in trades
            if trade.timestamp > after and category in (OVERALL, category_of(trade))
        ]
        if some:
            yield some


def _sum(trades: Iterable[Trade]) -> _Sum:
    cash = volume = 0.0
    held: dict[str, float] = defaultdict(float)
    for trade in trades:
        sign = 1 if trade.side == "BUY" else -1
        cash -= sign * trade.size * trade.price
        volume += trade.size
        held[trade.token_id] += sign * trade.size
    return _Sum(cash, volume, held)
