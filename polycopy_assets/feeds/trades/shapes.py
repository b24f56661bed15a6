"""The shapes of trades: how the JSON of each source becomes the fields of the table `trades`."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Literal, Protocol

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.trades.shapes import (
    CHECKPOINT,
    DOME,
    POLYMARKET,
    Int64,
    ServedRow,
    Shape,
    Shapes,
    Text,
    field_names,
    fits,
)

SOURCE_FIELD = "polycopy_source"
"""Marks an adopted row as not served by a source. It is for people; nothing reads it."""

NO_LABEL = 999
"""The outcome index that means that Data API v2 could not label the outcome."""

Side = Literal["BUY", "SELL"]


class Trade(ServedRow, Protocol):
    """What every shape has. Size in shares, price in USDC per share, time in epoch seconds."""

    side: str
    price: float
    shares: float


class _Polymarket(
    msgspec.Struct,
    gc=False,
    frozen=True,
    rename={
        "wallet": "proxy_wallet",
        "tx_hash": "transaction_hash",
        "shares": "size",
        "token_label": "outcome",
        "market_slug": "slug",
    },
):
    """A row of `GET /v2/trades`. Labels may be missing; the rest may not."""

    wallet: Text
    timestamp: Int64
    side: Side
    price: float
    shares: float
    token_id: str
    condition_id: str
    tx_hash: Text
    token_label: str | None = None
    title: str | None = None
    market_slug: str | None = None
    event_slug: str | None = None
    outcome_index: Int64 | None = None


class _Dome(
    msgspec.Struct, gc=False, frozen=True, rename={"wallet": "user", "shares": "shares_normalized"}
):
    """A row of `GET /polymarket/orders`."""

    wallet: Text
    timestamp: Int64
    side: Side
    price: float
    shares: float
    token_id: str
    tx_hash: Text
    condition_id: str | None = None
    token_label: str | None = None
    title: str | None = None
    market_slug: str | None = None
    order_hash: str | None = None
    taker: str | None = None
    log_index: Int64 | None = None


class _Adopted(
    msgspec.Struct, gc=False, frozen=True, rename={"wallet": "user", "shares": "shares_normalized"}
):
    """A row of an old job's file, as `migration.old_job` writes it."""

    wallet: Text
    timestamp: Int64
    side: Side
    price: float
    shares: float
    tx_hash: Text
    token_id: str | None = None
    condition_id: str | None = None
    token_label: str | None = None
    title: str | None = None
    market_slug: str | None = None
    order_hash: str | None = None
    taker: str | None = None


def _strange(shape: Shape, rows: Sequence[Trade]) -> Mapping[str, int]:
    """Prices that are no probability, and trades of nothing."""
    prices = list(map(attrgetter("price"), rows))
    shares = list(map(attrgetter("shares"), rows))
    counts: dict[str, int] = {}
    if rows and not 0 <= min(prices) <= max(prices) <= 1:
        counts["price above 1"] = sum(price > 1 for price in prices)
        counts["price below 0"] = sum(price < 0 for price in prices)
    if rows and min(shares) <= 0:
        counts[f"{shape.name('shares')} not above 0"] = sum(each <= 0 for each in shares)
    return counts


_ADOPTED = Shape(CHECKPOINT, _Adopted, listed=(SOURCE_FIELD,), strange=_strange)
_SERVED = (
    Shape(
        POLYMARKET,
        _Polymarket,
        listed=("icon", "name", "pseudonym", "bio", "profile_image", "profile_image_optimized"),
        labels=("token_label", "title", "market_slug"),
        strange=_strange,
    ),
    Shape(
        DOME,
        _Dome,
        listed=("shares", "block_number"),
        labels=("token_label", "title", "market_slug"),
        strange=_strange,
    ),
)


def guess_source(lines: bytes) -> str:
    """The source of the rows of a segment that does not name it: an older version wrote it.

    Raises ContractBroken if the rows have the shape of no source, or of more than one.
    """
    first, _, _ = lines.partition(b"\n")
    if field_names(first) == _ADOPTED.listed:
        return CHECKPOINT
    fitting = [shape.source for shape in _SERVED if fits(shape, first)]
    if len(fitting) != 1:
        raise ContractBroken(f"rows that {' and '.join(fitting) or 'no source'} could have served")
    return fitting[0]


SHAPES = Shapes((*_SERVED, _ADOPTED), guess_source)
"""The shape of the rows of each source."""
