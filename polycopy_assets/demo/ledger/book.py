"""The books of one generated wallet: what it has, and the rows that say how it came to that."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from polycopy_assets.demo.combos import Combo
from polycopy_assets.demo.entry import MICRO, TRADE, UNLABELLED, Entry, Standing
from polycopy_assets.demo.market import OUTCOMES, MarketFacts

FEE_GRAIN = 10
"""Micro-USDC: fees have five decimals."""

GRAINS = 10_000
"""Rates of fees are in ten-thousandths."""


class Book:
    """Cash in micro-USDC and shares in millionths, never less than nothing; integers throughout.

    Each operation changes them and writes its row. One that the wallet cannot afford raises
    ValueError: a generator that tries is wrong.
    """

    def __init__(self, wallet: str) -> None:
        self._wallet = wallet
        self.cash = 0
        self.held: defaultdict[str, int] = defaultdict(int)
        self.entries: list[Entry] = []
        self.repacked: list[Entry] = []

    @property
    def standing(self) -> Standing:
        """What the wallet has now; tokens of which it has none are left out."""
        return Standing(self.cash, {token: held for token, held in self.held.items() if held})

    def trade(
        self,
        when: tuple[int, str],
        market: MarketFacts,
        outcome: int,
        *,
        buy: bool,
        size: int,
        price: int,
        maker: bool,
        labelled: bool = True,
    ) -> None:
        """Buys or sells shares at `price` (thousandths of a USDC); `when` is time and hash."""
        usdc = cost(market, size, price, buy=buy, maker=maker)
        token = market.tokens[outcome]
        self._move(-usdc if buy else usdc, {token: size if buy else -size})
        self._write(
            when,
            TRADE,
            market,
            size=size,
            usdc=usdc,
            price=price / 1000,
            side="BUY" if buy else "SELL",
            token_id=token,
            outcome=OUTCOMES[outcome],
            outcome_index=outcome if labelled else UNLABELLED,
            event_slug=market.event_slug if labelled else "",
            maker=maker,
        )

    def split(self, when: tuple[int, str], market: MarketFacts, amount: int) -> None:
        """Cash becomes as many shares of both outcomes."""
        self._move(-amount, dict.fromkeys(market.tokens, amount))
        self._write(when, "SPLIT", market, size=amount, usdc=amount)

    def merge(self, when: tuple[int, str], market: MarketFacts, amount: int) -> None:
        """Shares of both outcomes become as much cash."""
        self._move(amount, dict.fromkeys(market.tokens, -amount))
        self._write(when, "MERGE", market, size=amount, usdc=amount)

    def redeem(self, when: tuple[int, str], market: MarketFacts, outcome: int, amount: int) -> None:
        """Shares of a resolved market become what they pay, which may be nothing."""
        if market.payouts is None:
            raise ValueError(f"{market.slug} is not resolved")
        usdc = amount * market.payouts[outcome] // MICRO
        token = market.tokens[outcome]
        self._move(usdc, {token: -amount})
        self._write(
            when,
            "REDEEM",
            market,
            size=amount,
            usdc=usdc,
            token_id=token,
            outcome=OUTCOMES[outcome],
            outcome_index=outcome,
        )

    def convert(
        self,
        when: tuple[int, str],
        event: Sequence[MarketFacts],
        chosen: Sequence[MarketFacts],
        amount: int,
    ) -> None:
        """`amount` of No of each `chosen` question becomes as much Yes of all others of the event.

        All but one of the chosen also pay cash: of several questions at most one comes true. The
        row names the event alone, by the id of its risk.
        """
        usdc = (len(chosen) - 1) * amount
        moved = {market.tokens[1]: -amount for market in chosen}
        taken = {market.condition_id for market in chosen}
        moved |= {m.tokens[0]: amount for m in event if m.condition_id not in taken}
        self._move(usdc, moved)
        first = event[0]
        named = {"condition_id": first.neg_risk_id, "title": first.event_title, "slug": ""}
        self._write(when, "CONVERSION", first, size=amount, usdc=usdc, **named)

    def combo(
        self, when: tuple[int, str], combo: Combo, outcome: int, size: int, price: int
    ) -> None:
        """Buys a combination of outcomes at `price`, outside the order book and without a fee."""
        usdc = size * price // 1000
        self._move(-usdc, {combo.tokens[outcome]: size})
        about = _combination(combo, outcome)
        self._write(
            when, TRADE, None, size=size, usdc=usdc, price=price / 1000, side="BUY", **about
        )

    def mint_combo(self, when: tuple[int, str], combo: Combo, amount: int) -> None:
        """Cash becomes as many shares of both outcomes of a combination; less than none: back."""
        self._move(-amount, dict.fromkeys(combo.tokens, amount))
        kind, size = "SPLIT" if amount > 0 else "MERGE", abs(amount)
        self._write(when, kind, None, size=size, usdc=size, **_combination(combo, 0))

    def redeem_combo(
        self, when: tuple[int, str], combo: Combo, outcome: int, yes_pays: int
    ) -> None:
        """All shares of a combination that has ended become what they pay, in micro-USDC each."""
        token = combo.tokens[outcome]
        size = self.held[token]
        usdc = size * abs(outcome * MICRO - yes_pays) // MICRO
        self._move(usdc, {token: -size})
        self._write(when, "REDEEM", None, size=size, usdc=usdc, **_combination(combo, outcome))

    def repack(self, when: tuple[int, str], kind: str, combo: Combo) -> None:
        """A row about a combination that is not in the ledger, and changes nothing in it."""
        row = Entry(
            served_wallet=self._wallet,
            timestamp=when[0],
            sequence=len(self.entries),
            tx_hash=when[1],
            type=kind,
        )
        self.repacked.append(replace(row, **_combination(combo, 0)))

    def flow(self, when: tuple[int, str], kind: str, usdc: int, *, side: str = "") -> None:
        """Cash that comes or goes without a market; a migration only changes its contract."""
        out = kind == "WITHDRAWAL" or side == "OUT"
        self._move(0 if kind == "MIGRATION" else -usdc if out else usdc, {})
        self._write(when, kind, None, size=usdc, usdc=usdc, side=side)

    def _move(self, cash: int, shares: dict[str, int]) -> None:
        if self.cash + cash < 0:
            raise ValueError(f"{self._wallet} would have less than no cash")
        for token, change in shares.items():
            if self.held[token] + change < 0:
                raise ValueError(f"{self._wallet} would have less than nothing of {token}")
        self.cash += cash
        for token, change in shares.items():
            self.held[token] += change
            if not self.held[token]:
                del self.held[token]

    def _write(
        self, when: tuple[int, str], kind: str, market: MarketFacts | None, **fields: Any
    ) -> None:
        second, tx_hash = when
        row = Entry(
            served_wallet=self._wallet,
            timestamp=second,
            sequence=len(self.entries),
            tx_hash=tx_hash,
            type=kind,
        )
        if market is not None:
            row = replace(
                row,
                condition_id=market.condition_id,
                title=market.question,
                slug=market.slug,
                event_id=market.event_id,
                event_slug=market.event_slug,
            )
        self.entries.append(replace(row, **fields))


def cost(market: MarketFacts, size: int, price: int, *, buy: bool, maker: bool) -> int:
    """What a buyer pays, or a seller gets, in micro-USDC: takers pay the fee of the market.

    fee = shares · rate · p · (1 - p), to five decimals; no seller pays more than the sale brings.
    """
    notional = size * price // 1000
    scale = GRAINS * 1000 * 1000 * FEE_GRAIN
    fee = 0 if maker else (size * market.fee * price * (1000 - price) * 2 + scale) // (scale * 2)
    fee *= FEE_GRAIN
    return notional + fee if buy else max(notional - fee, 0)


def _combination(combo: Combo, outcome: int) -> dict[str, Any]:
    return {
        "condition_id": combo.condition_id,
        "token_id": combo.tokens[outcome],
        "outcome": OUTCOMES[outcome],
        "outcome_index": outcome,
        "title": combo.title,
        "is_combo": True,
    }
