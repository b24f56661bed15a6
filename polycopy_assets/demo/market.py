"""What a market is: its outcomes, its event, its fees, and how it ended."""

import msgspec

from polycopy_assets.demo.entry import MICRO

OUTCOMES = ("Yes", "No")


class MarketFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One market with two outcomes; times in epoch seconds.

    `payouts` are in micro-USDC a share, by outcome; None until it is resolved. `fee` is the rate of
    the taker's fee in ten-thousandths, `last_price` what Yes was last traded at, in thousandths of
    a USDC. A `crossed` market has its outcomes the other way round in the order book. Only markets
    of a negative-risk event have a `neg_risk_id`, and their place among its questions. A token that
    nobody knows is "".
    """

    number: int
    condition_id: str
    tokens: tuple[str, str]
    question: str
    slug: str
    category: str = ""
    event_id: int = 0
    event_slug: str = ""
    event_title: str = ""
    neg_risk_id: str = ""
    question_index: int = 0
    created: int = 0
    ends: int = 0
    resolved_at: int | None = None
    payouts: tuple[int, int] | None = None
    fee: int = 0
    last_price: int = 500
    disputed: bool = False
    crossed: bool = False

    @property
    def question_id(self) -> str:
        """The id of its question: of the oracle's making, another than its condition's."""
        return f"0x{int(self.condition_id, 16) ^ (2**256 - 1):064x}"

    def resolved(self, at: float) -> bool:
        """Whether its outcome is known at that time."""
        return self.resolved_at is not None and self.resolved_at <= at

    def price(self, outcome: int, at: float) -> int:
        """What a share of the outcome is worth, in micro-USDC: its payout, or its last price."""
        if self.payouts is not None and self.resolved(at):
            return self.payouts[outcome]
        yes = self.last_price * 1000
        return MICRO - yes if outcome else yes
