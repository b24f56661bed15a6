"""Rows of a wallet's ledger: what it traded, and everything else that moved its cash or shares."""

from typing import Any

import msgspec

from polycopy_assets.demo.freshness import PIPELINES

TYPES = tuple(PIPELINES)
"""Every type that `/v2/activity` knows."""

TRADE = "TRADE"
TIP = "TIP"
FLOWS = ("DEPOSIT", "WITHDRAWAL")
INCOME = ("REWARD", "YIELD", "MAKER_REBATE", "TAKER_REBATE", "REFERRAL_REWARD")
UNLABELLED = 999
"""The outcome index of a row that has no label of its outcome."""

MICRO = 1_000_000
"""Micro-USDC in a USDC, and the smallest part of a share: what the chain counts in."""

DUST = MICRO // 100
"""Fills of fewer shares are in the ledger, and not among the trades."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row of one wallet's ledger.

    `size` is in millionths of a share, or of what was split, merged or converted; `usdc` is
    cash in micro-USDC, fees included, never negative: the type (and the side) tells its direction.
    `price` is in USDC a share. `served_size` is the size where a trade is served with another float
    than that of its millionths. `token_id` is what the chain says, which the API does not
    serve for every type. `raw` is a recorded row, served as it stands.
    """

    served_wallet: str
    timestamp: int
    sequence: int
    tx_hash: str
    type: str
    size: int = 0
    usdc: int = 0
    price: float = 0.0
    served_size: float | None = None
    side: str = ""
    token_id: str = ""
    condition_id: str = ""
    outcome: str = ""
    outcome_index: int = UNLABELLED
    title: str = ""
    slug: str = ""
    event_id: int = 0
    event_slug: str = ""
    maker: bool = False
    is_combo: bool = False
    raw: dict[str, Any] | None = None

    @property
    def wallet(self) -> str:
        """The address in lower case."""
        return self.served_wallet.lower()

    @property
    def position(self) -> tuple[int, int]:
        """Where the row stands in time: (timestamp, sequence)."""
        return (self.timestamp, self.sequence)

    @property
    def among_trades(self) -> bool:
        """Whether `/v2/trades` serves the row too: it withholds combos and dust."""
        return self.type == TRADE and not self.is_combo and self.size >= DUST


class Standing(msgspec.Struct):
    """What a wallet has: cash in micro-USDC, and by token millionths of a share."""

    cash: int = 0
    shares: dict[str, int] = {}


class Labels(msgspec.Struct, kw_only=True):
    """How rows of activity are labelled; may change at any time.

    Rows that are not `lag` seconds old have no labels yet. With `redeem_tokens`, redemptions name
    their token; two people who looked at the real API saw one and the other.
    """

    lag: int = 0
    redeem_tokens: bool = False


def activity_row(entry: Entry, labels: Labels, now: float) -> dict[str, Any]:
    """The row as `/v2/activity` serves it: 21 fields, and `is_combo` only where it is true."""
    if entry.raw is not None:
        return dict(entry.raw)
    late = entry.timestamp > now - labels.lag
    pair = entry.type in ("SPLIT", "MERGE")
    named = entry.type == TRADE or (not pair and (entry.is_combo or labels.redeem_tokens))
    return {
        "proxy_wallet": entry.served_wallet,
        "timestamp": entry.timestamp,
        "condition_id": entry.condition_id,
        "type": entry.type,
        "size": entry.size / MICRO if entry.served_size is None else entry.served_size,
        "usdc_size": entry.usdc / MICRO,
        "transaction_hash": entry.tx_hash,
        "price": entry.price,
        "token_id": entry.token_id if named else "",
        "side": entry.side,
        "outcome_index": UNLABELLED if late or not named else entry.outcome_index,
        "title": "" if late else entry.title,
        "slug": "" if late else entry.slug,
        "icon": "",
        "event_slug": "" if late or entry.outcome_index == UNLABELLED else entry.event_slug,
        "outcome": "" if late or not named else entry.outcome,
        "name": "",
        "pseudonym": "Sample-Trader",
        "bio": "",
        "profile_image": "",
        "profile_image_optimized": "",
        **({"is_combo": True} if entry.is_combo else {}),
    }
