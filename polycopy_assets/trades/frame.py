"""From rows as served to the table's columns: types, names and the identity of a trade.

A row has no id of its own, and two real fills can be alike in every field. All fills of one
transaction carry one timestamp, so they lie in one segment: they are numbered there in a fixed
order, the same on every fetch. No row is ever dropped because another looks like it.
"""

import gzip
import io
from collections.abc import Iterable

import polars as pl

from polycopy_assets.trades.interval import Interval

_UTC = pl.Datetime("us", "UTC")

TABLE_SCHEMA: dict[str, pl.DataType] = {
    "wallet_address": pl.String(),
    "id": pl.String(),
    "timestamp": _UTC,
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
"""Columns of the `trades` table in their order; `timestamp` is UTC."""

PART_SCHEMA: dict[str, pl.DataType] = {
    **TABLE_SCHEMA,
    "claim_start": _UTC,
    "claim_until": _UTC,
}
"""Columns of a batch's Parquet files. A row is a trade, or, where `claim_until` is set, a claim:

inside claim_start <= timestamp < claim_until the batch's trades of `wallet_address` are all.
"""

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
SOURCE_FIELD = "polycopy_source"
"""Says in a row that it is not as a source served it, but from elsewhere, and from where."""

SERVED_SCHEMA = {**_POLYMARKET, **_DOME, **_BOTH, SOURCE_FIELD: pl.String()}
"""What is read of a served row, whichever source it came from; a field it lacks is null."""


def read_rows(payload: bytes, claim: Interval | None = None) -> pl.DataFrame:
    """The rows of a segment's gzip file as served, those outside of `claim` left out."""
    rows = read_lines(gzip.decompress(payload))
    return rows if claim is None else within(rows, claim)


def read_lines(lines: bytes) -> pl.DataFrame:
    """Served rows, one JSON object a line."""
    if not lines:
        return pl.DataFrame(schema=SERVED_SCHEMA)
    return pl.read_ndjson(io.BytesIO(lines), schema=SERVED_SCHEMA)


def within(served: pl.DataFrame, span: Interval) -> pl.DataFrame:
    """The served rows whose time lies in `span`."""
    return served.filter(pl.col("timestamp").is_between(span.start, span.until - 1))


def source_of_row() -> pl.Expr:
    """Who served a row that `read_rows` has read."""
    shape = pl.when(pl.col("user").is_null()).then(pl.lit("polymarket")).otherwise(pl.lit("dome"))
    return pl.coalesce(pl.col(SOURCE_FIELD), shape)


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
        source=source_of_row(),
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
        timestamp=pl.from_epoch("seconds", time_unit="s").dt.replace_time_zone("UTC").cast(_UTC),
    ).select(TABLE_SCHEMA.keys())


def claim_rows(claims: Iterable[tuple[str, Interval]]) -> pl.DataFrame:
    """Claimed intervals of wallets as rows of a batch's files."""
    pairs = list(claims)
    times = {"claim_start": [c.start for _, c in pairs], "claim_until": [c.until for _, c in pairs]}
    return pl.DataFrame(
        {name: [None] * len(pairs) for name in TABLE_SCHEMA} | times,
        schema={**TABLE_SCHEMA, "claim_start": pl.Int64(), "claim_until": pl.Int64()},
    ).with_columns(
        pl.Series("wallet_address", [wallet for wallet, _ in pairs], pl.String()),
        *(pl.from_epoch(n, time_unit="s").dt.replace_time_zone("UTC").cast(_UTC) for n in times),
    )


def part_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the table as rows of a batch's files."""
    return rows.with_columns(claim_start=pl.lit(None, _UTC), claim_until=pl.lit(None, _UTC)).select(
        PART_SCHEMA.keys()
    )
