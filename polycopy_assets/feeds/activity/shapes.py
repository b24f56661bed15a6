"""The shape of a row of the ledger: how its JSON becomes the fields of the table `activity`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Protocol

import msgspec

from polycopy_assets.text import quoted
from polycopy_assets.trades.shapes import POLYMARKET, Int64, ServedRow, Shape, Shapes, Text

TRADE = "TRADE"
TIP = "TIP"
TYPES = frozenset(
    {
        TRADE,
        "SPLIT",
        "MERGE",
        "REDEEM",
        "CONVERSION",
        "MIGRATION",
        "REWARD",
        "YIELD",
        "MAKER_REBATE",
        "TAKER_REBATE",
        "REFERRAL_REWARD",
        "DEPOSIT",
        "WITHDRAWAL",
        TIP,
    }
)
"""The types that are known; docs/ledger.md says what each does. Others are kept as well."""


Amount = Annotated[float, msgspec.Meta(gt=-1e29, lt=1e29)]
"""Shares or USDC, as far as the table can hold them (`feeds.frame.EXACT`): a row with more than
that is refused when it is served, because a combine could make nothing of its wallet."""


class Entry(ServedRow, Protocol):
    """What every shape has. Size in shares, price in USDC per share, cash in USDC."""

    type: str
    shares: float | None
    usdc: float | None
    price: float | None


class _Polymarket(
    msgspec.Struct,
    gc=False,
    frozen=True,
    rename={
        "wallet": "proxy_wallet",
        "tx_hash": "transaction_hash",
        "shares": "size",
        "usdc": "usdc_size",
        "market_slug": "slug",
    },
):
    """A row of `GET /v2/activity`. What moved may be unknown (null), and labels may be missing."""

    wallet: Text
    timestamp: Int64
    type: Text
    tx_hash: str
    shares: Amount | None
    usdc: Amount | None
    price: float | None = None
    side: str | None = None
    token_id: str | None = None
    condition_id: str | None = None
    outcome_index: Int64 | None = None
    title: str | None = None
    market_slug: str | None = None
    event_slug: str | None = None
    is_combo: bool | None = None


def _strange(shape: Shape, rows: Sequence[Entry]) -> Mapping[str, int]:
    """Types that are not known yet, and amounts that are below zero or missing."""
    types = Counter(map(attrgetter("type"), rows))
    counts = {f"unknown type {quoted(kind)}": types[kind] for kind in sorted(types.keys() - TYPES)}
    for attribute in ("shares", "usdc"):
        amounts = list(map(attrgetter(attribute), rows))
        name = shape.name(attribute)
        counts[f"no {name}"] = amounts.count(None)
        counts[f"{name} below 0"] = sum(each is not None and each < 0 for each in amounts)
    return counts


SHAPES = Shapes(
    [
        Shape(
            POLYMARKET,
            _Polymarket,
            listed=(
                "icon",
                "outcome",
                "name",
                "pseudonym",
                "bio",
                "profile_image",
                "profile_image_optimized",
            ),
            strange=_strange,
        )
    ]
)
"""The shape of the rows of each source that serves a ledger."""
