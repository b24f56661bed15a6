"""From trades as served to the columns of the table `trades`."""

import polars as pl

from polycopy_assets.feeds.frame import UTC, Frame, identity, moments, numbered
from polycopy_assets.feeds.trades.shapes import NO_LABEL

TABLE_SCHEMA: dict[str, pl.DataType] = {
    "wallet_address": pl.String(),
    "id": pl.String(),
    "timestamp": UTC,
    "side": pl.String(),
    "price": pl.Float64(),
    "shares_normalized": pl.Float64(),
    "token_id": pl.String(),
    "token_label": pl.String(),
    "condition_id": pl.String(),
    "tx_hash": pl.String(),
    "order_hash": pl.String(),
    "taker": pl.String(),
    "market_slug": pl.String(),
    "title": pl.String(),
    "source": pl.String(),
    "sequence": pl.Int64(),
    "outcome_index": pl.Int64(),
    "event_slug": pl.String(),
    "notional_usdc": pl.Float64(),
}
"""Columns of the `trades` table in their order; `timestamp` is UTC."""

ALWAYS_KNOWN = frozenset(
    {
        "wallet_address",
        "id",
        "timestamp",
        "side",
        "price",
        "shares_normalized",
        "tx_hash",
        "source",
        "sequence",
        "notional_usdc",
    }
)
"""The columns that are never null in our rows."""

SERVED_SCHEMA: dict[str, pl.DataType] = {
    "wallet": pl.String(),
    "timestamp": pl.Int64(),
    "side": pl.String(),
    "price": pl.Float64(),
    "shares": pl.Float64(),
    "token_id": pl.String(),
    "token_label": pl.String(),
    "condition_id": pl.String(),
    "tx_hash": pl.String(),
    "order_hash": pl.String(),
    "taker": pl.String(),
    "market_slug": pl.String(),
    "title": pl.String(),
    "log_index": pl.Int64(),
    "outcome_index": pl.Int64(),
    "event_slug": pl.String(),
    "source": pl.String(),
}
"""The fields of served rows, by the names of `shapes.py`; what a source lacks is null."""

ORDER = ("log_index", "token_id", "side", "price", "shares")
"""What decides between the fills of one transaction when they are numbered."""


def table_rows(served: pl.DataFrame) -> pl.DataFrame:
    """Served rows of whole seconds as rows of the table, sorted by wallet and time."""
    return numbered(served, ORDER).select(
        wallet_address="wallet",
        id=identity(),
        timestamp=moments("timestamp"),
        side="side",
        price="price",
        shares_normalized="shares",
        token_id=pl.col("token_id"),
        token_label=pl.col("token_label"),
        condition_id="condition_id",
        tx_hash="tx_hash",
        order_hash="order_hash",
        taker="taker",
        market_slug="market_slug",
        title="title",
        source="source",
        sequence="sequence",
        outcome_index=pl.col("outcome_index").replace(NO_LABEL, None),
        event_slug="event_slug",
        notional_usdc=pl.col("price") * pl.col("shares"),
    )


FRAME = Frame(TABLE_SCHEMA, ALWAYS_KNOWN, SERVED_SCHEMA, table_rows, added=frozenset({"sequence"}))
