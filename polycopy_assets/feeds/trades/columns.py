"""What the table `trades`, its columns and the views on it mean: one line each, with the unit."""

from collections.abc import Mapping

from polycopy_assets.trades.columns import Relation

TRADES: Mapping[str, str] = {
    "wallet_address": "The wallet, 0x and 40 hexadecimal digits in lower case.",
    "id": "{tx_hash}-{n}, n numbers the wallet's fills in the transaction; unique per wallet.",
    "timestamp": "Time of the block, UTC, whole seconds.",
    "side": "BUY or SELL, as the wallet sees it.",
    "price": "USDC per share, without fees.",
    "shares_normalized": "Shares of the outcome.",
    "token_id": "The outcome's token, decimal digits.",
    "token_label": "The outcome's name.",
    "condition_id": "The market's condition, 0x and 64 hexadecimal digits.",
    "tx_hash": "The transaction, as served.",
    "order_hash": "The order; only in rows from Dome and of an older job.",
    "taker": "The taker's address; only in rows from Dome and of an older job.",
    "market_slug": "The market's name in its address on polymarket.com.",
    "title": "The market's question.",
    "source": "Who served the row: polymarket, dome, or checkpoint for an older job's file.",
    "sequence": "Place among the wallet's trades of that second, oldest first, from 0.",
    "outcome_index": "The outcome's place in its market, from 0; not in rows from Dome.",
    "event_slug": "The market's event in its address on polymarket.com; not in rows from Dome.",
    "notional_usdc": "USDC that changed hands: price times shares_normalized, without fees.",
}
"""The columns of `trades`."""

RELATION = Relation(
    "Every trade of every wanted wallet, once: a row is one fill of one wallet.", TRADES
)

_SUMS: Mapping[str, str] = {
    "trades": "Number of trades.",
    "buys": "Number of trades with side BUY.",
    "sells": "Number of trades with side SELL.",
    "volume_usdc": "USDC that changed hands, bought and sold, without fees.",
    "bought_usdc": "USDC paid in trades with side BUY, without fees.",
    "sold_usdc": "USDC received in trades with side SELL, without fees.",
    "net_cash_usdc": "sold_usdc minus bought_usdc. It is not a profit: redemptions are missing.",
}

VIEWS: Mapping[str, Relation] = {
    "wallet_summary": Relation(
        "A row for each wallet.",
        {
            "wallet_address": TRADES["wallet_address"],
            **_SUMS,
            "markets": "Number of different markets; may not be added up.",
            "first_trade": "Time of the wallet's first trade, UTC.",
            "last_trade": "Time of the wallet's last trade, UTC.",
        },
    ),
    "market_summary": Relation(
        "A row for each market, over the wallets of this table: not all trades of the market.",
        {
            "condition_id": TRADES["condition_id"],
            "market_slug": TRADES["market_slug"],
            "title": TRADES["title"],
            **_SUMS,
            "wallets": "Number of different wallets; may not be added up.",
            "first_trade": "Time of the first trade, UTC.",
            "last_trade": "Time of the last trade, UTC.",
        },
    ),
    "daily_trades": Relation(
        "A row for each day and wallet that traded on it.",
        {
            "day": "The day, UTC.",
            "wallet_address": TRADES["wallet_address"],
            **_SUMS,
            "markets": "Number of different markets; may not be added up.",
        },
    ),
}
"""The views on `trades` that polycopy makes."""
