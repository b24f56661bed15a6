"""What the rows of a ledger come to, worked out from the rows as they are served."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from polycopy_assets.demo.market import MarketFacts

MICRO = 1_000_000
INCOME = {"REWARD", "YIELD", "MAKER_REBATE", "TAKER_REBATE", "REFERRAL_REWARD", "DEPOSIT"}


class Sums:
    """Cash in micro-USDC, shares in millionths by token; fails on less than nothing."""

    def __init__(self, markets: Mapping[str, MarketFacts]) -> None:
        self._markets = markets
        self._events: dict[str, list[MarketFacts]] = defaultdict(list)
        for market in markets.values():
            self._events[market.neg_risk_id].append(market)
        self.cash = 0
        self.shares: defaultdict[str, int] = defaultdict(int)

    def add(self, rows: Iterable[dict[str, Any]]) -> "Sums":
        """Rows in the order in which they happened."""
        for row in rows:
            self._apply(row, round(row["size"] * MICRO), round(row["usdc_size"] * MICRO))
            assert self.cash >= 0, row
            assert min(self.shares.values(), default=0) >= 0, row
        return self

    def held(self) -> dict[str, int]:
        return {token: shares for token, shares in self.shares.items() if shares}

    def _apply(self, row: dict[str, Any], size: int, usdc: int) -> None:
        kind, side = row["type"], row["side"]
        if kind == "TRADE":
            sign = 1 if side == "BUY" else -1
            self.cash -= sign * usdc
            self.shares[row["token_id"]] += sign * size
        elif kind in ("SPLIT", "MERGE"):
            sign = 1 if kind == "SPLIT" else -1
            self.cash -= sign * usdc
            for token in self._pair(row):
                self.shares[token] += sign * size
        elif kind == "REDEEM":
            self.cash += usdc
            self.shares[self._redeemed(row, usdc)] -= size
        elif kind == "CONVERSION":
            self.cash += usdc
            self._convert(self._events[row["condition_id"]], size, usdc)
        elif kind in INCOME or side == "IN":
            self.cash += usdc
        elif kind != "MIGRATION":
            self.cash -= usdc

    def _pair(self, row: dict[str, Any]) -> tuple[str, str]:
        """The tokens of both outcomes: a combination's are its condition's bytes, as a number."""
        if not row.get("is_combo"):
            return self._markets[row["condition_id"]].tokens
        yes = int(row["condition_id"], 16)
        return str(yes), str(yes + 1)

    def _redeemed(self, row: dict[str, Any], usdc: int) -> str:
        """The token of a redemption, whose row does not name it (but that of a combination)."""
        if row.get("is_combo"):
            return row["token_id"]
        market = self._markets[row["condition_id"]]
        assert market.payouts
        paid = [bool(payout) == bool(usdc) for payout in market.payouts]
        return next(
            t for t, fits in zip(market.tokens, paid, strict=True) if fits and self.shares[t]
        )

    def _convert(self, event: list[MarketFacts], size: int, usdc: int) -> None:
        """The chosen questions are not named: they are those of which there is so much No."""
        chosen = [market for market in event if self.shares[market.tokens[1]] >= size]
        assert len(chosen) == usdc // size + 1
        for market in event:
            if market in chosen:
                self.shares[market.tokens[1]] -= size
            else:
                self.shares[market.tokens[0]] += size
