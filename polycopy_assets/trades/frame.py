"""From rows as served to the table's columns: types, names and the identity of a trade.

A row has no id, and two real fills can be equal in every field. All fills of one transaction have
one timestamp, so they lie in one segment: they are numbered there in a fixed order, the same on
every fetch. No row is ever dropped because another is equal.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from operator import attrgetter

import polars as pl

from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.shapes import NO_LABEL, Trade, shape_of

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

PART_SCHEMA: dict[str, pl.DataType] = {
    **TABLE_SCHEMA,
    "claim_start": _UTC,
    "claim_until": _UTC,
}
"""Columns of a batch's Parquet files. A row is a trade, or, where `claim_until` is set, a claim:

the batch has all trades of `wallet_address` with claim_start <= timestamp < claim_until.
"""

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
"""The fields of served rows, by the names of `trades.shapes`; what a source lacks is null."""


def columns_of(source: str, rows: Sequence[Trade]) -> pl.DataFrame:
    """Rows that `source` served, in their order, as columns: only those that it serves."""
    return pl.DataFrame(
        [pl.Series(name, list(map(get, rows)), kind) for name, get, kind in _served_by(source)]
    )


def served_frame(source: str, columns: pl.DataFrame) -> pl.DataFrame:
    """What `columns_of` returns, with the columns that `source` does not serve."""
    lacking = SERVED_SCHEMA.keys() - columns.columns
    known = {"source": source}
    return columns.select(
        pl.lit(known.get(name), kind).alias(name) if name in lacking else pl.col(name)
        for name, kind in SERVED_SCHEMA.items()
    )


@cache
def _served_by(source: str) -> list[tuple[str, Callable[[Trade], object], type[pl.DataType]]]:
    """Name, getter and type of each column that `source` serves."""
    has = shape_of(source).attributes
    return [
        (name, attrgetter(name), type(kind)) for name, kind in SERVED_SCHEMA.items() if name in has
    ]


def table_rows(served: pl.DataFrame) -> pl.DataFrame:
    """Served rows of whole seconds as rows of the table, sorted by wallet and time.

    Fastest if the wallets are in descending order, and the rows of each newest first.
    """
    ordered = _ordered(
        served.with_columns(
            pl.col("wallet").str.to_lowercase(),
            key=pl.col("tx_hash").str.to_lowercase(),
            served=pl.int_range(pl.len(), dtype=pl.UInt32),
        )
    )
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    new = pl.col("key").ne_missing(pl.col("key").shift()) | pl.col("second").ne_missing(
        pl.col("second").shift()
    )
    number = place - pl.when(new).then(place).forward_fill()
    return ordered.select(
        wallet_address="wallet",
        id=pl.concat_str("key", pl.lit("-"), number),
        timestamp=pl.from_epoch("timestamp", time_unit="s").dt.replace_time_zone("UTC").cast(_UTC),
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


def _ordered(served: pl.DataFrame) -> pl.DataFrame:
    """The rows in the table's order, with the columns `second` and `sequence`.

    `second` differs from one wallet and second to the next; `sequence` is a row's place in it.
    """
    oldest_first = served.reverse()
    wallet, time = pl.col("wallet"), pl.col("timestamp")
    other = wallet != wallet.shift()
    back = (wallet < wallet.shift()) | (~other & (time < time.shift()))
    if oldest_first.select(back.any()).item():
        # A stable sort: rows of one second stay as they are.
        oldest_first = oldest_first.sort("wallet", "timestamp", maintain_order=True)
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    first = (other | (time != time.shift())).fill_null(value=True)
    return oldest_first.with_columns(
        second=first.cum_sum(),
        sequence=place - pl.when(first).then(place).forward_fill(),
    ).sort("second", "key", "log_index", "token_id", "side", "price", "shares", "served")


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
