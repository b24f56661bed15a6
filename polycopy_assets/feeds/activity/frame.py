"""From rows of a ledger as served to the columns of the table `activity`."""

import polars as pl

from polycopy_assets.feeds.activity.shapes import TRADE
from polycopy_assets.feeds.frame import EXACT, UTC, Frame, exact, identity, moments, numbered
from polycopy_assets.feeds.trades.shapes import NO_LABEL

TABLE_SCHEMA: dict[str, pl.DataType] = {
    "wallet_address": pl.String(),
    "id": pl.String(),
    "sequence": pl.Int64(),
    "timestamp": UTC,
    "type": pl.String(),
    "side": pl.String(),
    "token_id": pl.String(),
    "condition_id": pl.String(),
    "outcome_index": pl.Int64(),
    "shares": EXACT,
    "price": pl.Float64(),
    "usdc": EXACT,
    "fee_usdc": EXACT,
    "tx_hash": pl.String(),
    "is_combo": pl.Boolean(),
    "event_slug": pl.String(),
    "market_slug": pl.String(),
    "title": pl.String(),
    "source": pl.String(),
}
"""Columns of the `activity` table in their order; `timestamp` is UTC."""

ALWAYS_KNOWN = frozenset(
    {"wallet_address", "id", "sequence", "timestamp", "type", "is_combo", "source"}
)
"""The columns that are never null in our rows."""

SERVED_SCHEMA: dict[str, pl.DataType] = {
    "wallet": pl.String(),
    "timestamp": pl.Int64(),
    "type": pl.String(),
    "tx_hash": pl.String(),
    "shares": pl.Float64(),
    "usdc": pl.Float64(),
    "price": pl.Float64(),
    "side": pl.String(),
    "token_id": pl.String(),
    "condition_id": pl.String(),
    "outcome_index": pl.Int64(),
    "title": pl.String(),
    "market_slug": pl.String(),
    "event_slug": pl.String(),
    "is_combo": pl.Boolean(),
    "source": pl.String(),
}
"""The fields of served rows, by the names of `shapes.py`."""

ORDER = ("type", "token_id", "condition_id", "side", "price", "shares", "usdc")
"""What decides between the rows of one transaction when they are numbered."""

FEE_GRAIN = 5
"""Decimals with which fees are taken, in USDC."""

_MICRO = 1e-6


def table_rows(served: pl.DataFrame) -> pl.DataFrame:
    """Served rows of whole seconds as rows of the table, sorted by wallet and time."""
    return numbered(served, ORDER).select(
        wallet_address="wallet",
        id=identity(),
        sequence="sequence",
        timestamp=moments("timestamp"),
        type="type",
        side=_said("side"),
        token_id=_said("token_id"),
        condition_id=_said("condition_id"),
        outcome_index=pl.col("outcome_index").replace(NO_LABEL, None),
        shares=exact("shares"),
        price=pl.when(type=TRADE).then("price"),
        usdc=exact("usdc"),
        # A price that is none may make a number that the column does not hold.
        fee_usdc=_fee().cast(EXACT, strict=False),
        tx_hash=_said("tx_hash"),
        is_combo=pl.col("is_combo").fill_null(value=False),
        event_slug=_said("event_slug"),
        market_slug=_said("market_slug"),
        title=_said("title"),
        source="source",
    )


def _said(name: str) -> pl.Expr:
    """A text; null where the source has an empty one in its place."""
    return pl.col(name).replace("", None)


def _fee() -> pl.Expr:
    """The fee in a trade's cash: what was paid beyond the price, or not received of it.

    Null if the row is no trade of one token, or if its cash differs from its price the other way by
    more than the millionth that may be cut off.
    """
    differs = pl.col("usdc") - pl.col("shares") * pl.col("price")
    fee = pl.when(side="BUY").then(differs).when(side="SELL").then(-differs)
    plain = (pl.col("type") == TRADE) & ~pl.col("is_combo").fill_null(value=False)
    return pl.when(plain & (fee > -2 * _MICRO)).then(
        pl.max_horizontal(fee.round(FEE_GRAIN), pl.lit(0.0))
    )


FRAME = Frame(TABLE_SCHEMA, ALWAYS_KNOWN, SERVED_SCHEMA, table_rows)
