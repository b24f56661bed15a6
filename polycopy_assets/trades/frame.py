"""From rows as served to the table's columns: types, names and the identity of a trade.

A row has no id of its own, and two real fills can be alike in every field. All fills of one
transaction carry one timestamp, so they lie in one segment: they are numbered there in a fixed
order, the same on every fetch. No row is ever dropped because another looks like it.
"""

import gzip
import io

import polars as pl

from polycopy_assets.trades.interval import Interval

TABLE_SCHEMA: dict[str, pl.DataType] = {
    "wallet_address": pl.String(),
    "id": pl.String(),
    "timestamp": pl.Datetime("us"),
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
}
"""Columns of the `trades` table in their order; `timestamp` is UTC, kept without a zone."""

_POLYMARKET = {
    "proxy_wallet": pl.String(),
    "transaction_hash": pl.String(),
    "size": pl.Float64(),
    "outcome": pl.String(),
    "slug": pl.String(),
}
_DOME = {
    "user": pl.String(),
    "tx_hash": pl.String(),
    "shares_normalized": pl.Float64(),
    "token_label": pl.String(),
    "market_slug": pl.String(),
    "order_hash": pl.String(),
    "taker": pl.String(),
    "log_index": pl.Int64(),
}
_BOTH = {
    "side": pl.String(),
    "token_id": pl.String(),
    "condition_id": pl.String(),
    "price": pl.Float64(),
    "timestamp": pl.Int64(),
    "title": pl.String(),
}
SERVED_SCHEMA = {**_POLYMARKET, **_DOME, **_BOTH}
"""What is read of a served row, whichever source it came from; a field it lacks is null."""


def read_rows(payload: bytes, claim: Interval | None = None) -> pl.DataFrame:
    """The rows of a segment's gzip file as served, those outside of `claim` left out."""
    lines = gzip.decompress(payload)
    if not lines:
        return pl.DataFrame(schema=SERVED_SCHEMA)
    rows = pl.read_ndjson(io.BytesIO(lines), schema=SERVED_SCHEMA)
    if claim is None:
        return rows
    return rows.filter(pl.col("timestamp").is_between(claim.start, claim.until - 1))


def table_rows(served: pl.DataFrame) -> pl.DataFrame:
    """Served rows of whole seconds as rows of the table, sorted by wallet and time."""
    tx = pl.coalesce("tx_hash", "transaction_hash")
    typed = served.select(
        wallet_address=pl.coalesce("proxy_wallet", "user").str.to_lowercase(),
        seconds=pl.col("timestamp"),
        side="side",
        price="price",
        shares_normalized=pl.coalesce("size", "shares_normalized"),
        token_id=pl.col("token_id"),
        token_label=pl.coalesce("outcome", "token_label"),
        condition_id="condition_id",
        tx_hash=tx,
        order_hash="order_hash",
        taker="taker",
        market_slug=pl.coalesce("slug", "market_slug"),
        title="title",
        source=pl.when(pl.col("user").is_null())
        .then(pl.lit("polymarket"))
        .otherwise(pl.lit("dome")),
        key=tx.str.to_lowercase(),
        log_index="log_index",
        served=pl.int_range(pl.len(), dtype=pl.UInt32),
    ).sort(
        "wallet_address",
        "seconds",
        "key",
        "log_index",
        "token_id",
        "side",
        "price",
        "shares_normalized",
        "served",
    )
    number = pl.int_range(pl.len()).over("wallet_address", "seconds", "key")
    return typed.with_columns(
        id=pl.concat_str("key", pl.lit("-"), number),
        timestamp=pl.from_epoch("seconds", time_unit="s").cast(pl.Datetime("us")),
    ).select(TABLE_SCHEMA.keys())
