"""What the table `activity` and its columns mean: one line each, with the unit."""

from collections.abc import Mapping

from polycopy_assets.feeds.trades.columns import TRADES
from polycopy_assets.trades.columns import Relation

ACTIVITY: Mapping[str, str] = {
    "wallet_address": TRADES["wallet_address"],
    "id": "{tx_hash}-{n}, n numbers the wallet's rows in the transaction; unique per wallet.",
    "sequence": "Place among the wallet's rows of that second, oldest first, from 0.",
    "timestamp": TRADES["timestamp"],
    "type": "What happened: TRADE, SPLIT, MERGE, REDEEM, CONVERSION, REWARD and others.",
    "side": "BUY or SELL for TRADE, IN or OUT for TIP, null for all others.",
    "token_id": "The outcome's token, decimal digits; null where the row names none.",
    "condition_id": "The market's condition, 0x and hexadecimal digits; null where there is none.",
    "outcome_index": "The outcome's place in its market, from 0; null where the row names none.",
    "shares": "Shares that were traded, split, merged, redeemed or converted; six digits.",
    "price": "USDC per share, without fees; null unless TRADE.",
    "usdc": "Cash that moved, fees included, never negative: type and side say which way.",
    "fee_usdc": "The taker's fee in a TRADE, in USDC; null where it cannot be told exactly.",
    "tx_hash": "The transaction, as served; null where the row has none.",
    "is_combo": "Whether it is of a combination of outcomes, which trades does not have.",
    "event_slug": "The market's event in its address on polymarket.com.",
    "market_slug": TRADES["market_slug"],
    "title": TRADES["title"],
    "source": "Who served the row: polymarket.",
}
"""The columns of `activity`."""

RELATION = Relation(
    "Everything that moved a wanted wallet's cash or shares, once: trades, redemptions and others.",
    ACTIVITY,
)
