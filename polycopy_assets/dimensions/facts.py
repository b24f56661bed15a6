"""What is known of a condition: its market, its resolution, and its outcomes' tokens.

A condition is the question that a market asks on chain; each of its outcomes has a token. Facts
come from three routes, which lag by different times and forget different things, so each part is
kept and asked for by itself. Prices and payouts are USDC per share, as decimals.

A combo is a combination of outcomes that is held and paid like one outcome. Its condition is no
market's: no market service lists it, no oracle resolves it. Its tokens alone are asked for.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Literal, NamedTuple, get_args

import msgspec

Part = Literal["tokens", "market", "resolution"]
PARTS: tuple[Part, ...] = get_args(Part)

_LENGTH = 66
"""Characters of a condition id with all its bytes."""

RESOLVED = "resolved"
"""The status of a resolution that is final."""

_CONDITION = re.compile(r"0x(?:[0-9a-f]{64}|[0-9a-f]{62})")
_COMBO = re.compile(r"0x03[0-9a-f]{32}0{28}0[01]")
"""The contract's number 3, half of a hash, zeros, and an outcome. The hash of a market's condition
is of this form once in 2^116."""


class Token(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An outcome's token. `outcome_index` is its place on chain, `clob_index` in the order book.

    `final_price` is what a share pays once the market is resolved.
    """

    token_id: str
    outcome_index: int
    outcome: str | None = None
    clob_index: int | None = None
    opposite_token_id: str | None = None
    module: str | None = None
    structural_condition_id: str | None = None
    neg_risk: bool | None = None
    neg_risk_market_id: str | None = None
    question_index: int | None = None
    title: str | None = None
    market_slug: str | None = None
    event_id: str | None = None
    event_slug: str | None = None
    resolved: bool = False
    final_price: Decimal | None = None


class Market(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A market as the market service lists it; times are epoch seconds.

    The fee of a taker is shares * fee_rate * (price * (1 - price)) ** fee_exponent, in USDC.
    """

    question_id: str | None = None
    market_slug: str | None = None
    question: str | None = None
    category: str | None = None
    tags: tuple[str, ...] = ()
    event_id: str | None = None
    event_slug: str | None = None
    neg_risk: bool | None = None
    start_date: int | None = None
    end_date: int | None = None
    closed: bool | None = None
    closed_time: int | None = None
    fees_enabled: bool | None = None
    fee_rate: Decimal | None = None
    fee_exponent: Decimal | None = None
    fee_taker_only: bool | None = None
    fee_rebate_rate: Decimal | None = None


class Resolution(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a condition was resolved, or how far that is. `payouts` are those of outcomes 0 and 1."""

    status: str
    payouts: tuple[Decimal, ...] = ()
    resolved_at: int | None = None
    resolved_block: int | None = None
    was_disputed: bool | None = None
    was_arbitrated: bool | None = None
    reporter: str | None = None
    resolution_source: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a condition from `since` on, the source's clock in epoch seconds.

    Nothing is known if all three are missing: then the source has never heard of the condition, or
    refuses it.
    """

    condition: str
    since: int
    market: Market | None = None
    resolution: Resolution | None = None
    tokens: tuple[Token, ...] = ()

    @property
    def known(self) -> bool:
        """Whether the source knows the condition."""
        return bool(self.market or self.resolution or self.tokens)

    @property
    def open_parts(self) -> frozenset[Part]:
        """What may still change, and so is asked for again."""
        return frozenset(
            part for part in parts_of(self.condition) if not getattr(self, f"_{part}_final")
        )

    @property
    def _tokens_final(self) -> bool:
        there = {token.token_id for token in self.tokens}
        return bool(self.tokens) and all(
            token.resolved
            and token.final_price is not None
            and (token.opposite_token_id or token.token_id) in there
            for token in self.tokens
        )

    @property
    def _market_final(self) -> bool:
        return self.market is not None and bool(self.market.closed)

    @property
    def _resolution_final(self) -> bool:
        # That no outcome pays is impossible: it is not known yet what they pay.
        found = self.resolution
        return found is not None and found.status == RESOLVED and any(found.payouts)


class Said(NamedTuple):
    """An answer: facts by condition, the source's clock (epoch seconds), and requests it took."""

    tokens: Mapping[str, tuple[Token, ...]] = {}
    resolutions: Mapping[str, Resolution] = {}
    markets: Mapping[str, Market] = {}
    at: int = 0
    requests: int = 0


def answered(
    before: Facts | None, condition: str, asked: AbstractSet[Part], said: Said
) -> Facts | None:
    """The facts after an answer to what was `asked`; None if they are the same as before.

    What was known and is not in the answer stays known: a miss takes nothing back. Time never runs
    backwards from one version to the next, whatever the source's clock does.
    """
    had = before or Facts(condition=condition, since=0)
    market = said.markets.get(condition) if "market" in asked else None
    resolution = said.resolutions.get(condition) if "resolution" in asked else None
    tokens = said.tokens.get(condition, ()) if "tokens" in asked else ()
    found = Facts(
        condition=condition,
        since=had.since,
        market=market or had.market,
        resolution=resolution or had.resolution,
        tokens=_together(had.tokens, tokens),
    )
    if before is not None and found == before:
        return None
    since = said.at if before is None else max(said.at, had.since + 1)
    return msgspec.structs.replace(found, since=since)


def _together(before: tuple[Token, ...], now: tuple[Token, ...]) -> tuple[Token, ...]:
    """The tokens of a condition after an answer, which may lack one of them."""
    every = {token.token_id: token for token in (*before, *now)}
    return tuple(sorted(every.values(), key=lambda token: (token.outcome_index, token.token_id)))


def parse_condition(text: str) -> str | None:
    """A condition id of 32 bytes in lower case; None if it is none.

    Contracts that write the outcome into a condition's last byte are named with and without that
    byte, and combos with that of either outcome: here it is 0, as in the source's own tokens.
    """
    lower = text.lower()
    if not _CONDITION.fullmatch(lower):
        return None
    whole = lower if len(lower) == _LENGTH else f"{lower}00"
    return f"{whole[:-2]}00" if is_combo(whole) else whole


def is_combo(condition: str) -> bool:
    """Whether a condition id in lower case is that of a combo."""
    return bool(_COMBO.fullmatch(condition))


def parts_of(condition: str) -> frozenset[Part]:
    """What there is to be known of a condition."""
    return frozenset({"tokens"} if is_combo(condition) else PARTS)
