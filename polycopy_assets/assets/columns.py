"""The columns of `trades`, as Dagster shows them."""

import dagster as dg

TRADES_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("wallet_address", "string", "the wallet, lower case"),
        dg.TableColumn(
            "id",
            "string",
            "`{tx_hash}-{n}`, n numbering the wallet's fills in the transaction; unique per wallet",
        ),
        dg.TableColumn("timestamp", "timestamp", "block time, UTC"),
        dg.TableColumn("side", "string", "BUY or SELL, as the wallet sees it"),
        dg.TableColumn("price", "float", "USDC per share"),
        dg.TableColumn("shares_normalized", "float", "shares"),
        dg.TableColumn("token_id", "string", "the outcome token"),
        dg.TableColumn("token_label", "string", "the outcome's name"),
        dg.TableColumn("condition_id", "string", "the market's condition"),
        dg.TableColumn("tx_hash", "string", "the transaction, as served"),
        dg.TableColumn("order_hash", "string", "the order; Dome only"),
        dg.TableColumn("taker", "string", "the taker's address; Dome only"),
        dg.TableColumn("market_slug", "string", "the market"),
        dg.TableColumn("title", "string", "the market's title"),
        dg.TableColumn(
            "source", "string", "polymarket, dome, or checkpoint for an older job's rows"
        ),
        dg.TableColumn(
            "sequence",
            "int",
            "position among the wallet's trades of that second, oldest first, from 0",
        ),
        dg.TableColumn("outcome_index", "int", "the outcome's index; Polymarket only"),
        dg.TableColumn("event_slug", "string", "the event of the market; Polymarket only"),
        dg.TableColumn("notional_usdc", "float", "price times shares, USDC"),
    ]
)
