"""From rows as served to the columns of a feed's table, and to the columns of its batches' files.

A row has no id, and two real rows can be equal in every field. All rows of one transaction have one
timestamp, so they lie in one segment: they are numbered there in a fixed order, the same on every
fetch. No row is ever dropped because another is equal.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

import polars as pl

from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.shapes import NO_TRANSACTION, Shapes

UTC = pl.Datetime("us", "UTC")
CLAIM = ("claim_start", "claim_until")

EXACT = pl.Decimal(38, 9)
"""An amount whose sums are exact. It is what a NUMERIC of BigQuery holds: no more than 29 digits
before the point, so that a file with 38 digits, 6 of them after it, could not be loaded there."""

DIGITS = 6
"""Digits after the point of shares and USDC: those of the chain."""


class Frame(NamedTuple):
    """The columns of a feed.

    `table` are those of its table, in their order; times are UTC. `always_known` are never null in
    our rows. `served` are the fields of served rows, by the attributes of their shapes; what a
    source lacks is null. `table_rows` makes rows of the table from served rows of whole seconds,
    sorted by wallet and time; it is fastest if the wallets are in descending order, and the rows of
    each newest first. `added` are the first columns of each later version of the schema: with them
    begins a line in a statement, so that it stays the same text.

    Every table has `wallet_address` and `timestamp`, and every served row `wallet`, `timestamp`,
    `tx_hash` and `source`.
    """

    table: Mapping[str, pl.DataType]
    always_known: frozenset[str]
    served: Mapping[str, pl.DataType]
    table_rows: Callable[[pl.DataFrame], pl.DataFrame]
    added: frozenset[str] = frozenset()

    @property
    def part(self) -> dict[str, pl.DataType]:
        """Columns of a batch's Parquet files. A row is one of the table, or a claim.

        It is a claim where `claim_until` is set: the batch has all rows of `wallet_address` with
        claim_start <= timestamp < claim_until.
        """
        return {**self.table, **dict.fromkeys(CLAIM, UTC)}

    def columns_of(self, shapes: Shapes, source: str, rows: Sequence[Any]) -> pl.DataFrame:
        """Rows that `source` served, in their order, as columns: only those that it serves."""
        has = shapes.of(source).attributes
        return pl.DataFrame(
            [
                pl.Series(name, list(map(_get(name), rows)), kind)
                for name, kind in self.served.items()
                if name in has
            ]
        )

    def served_frame(self, source: str, columns: pl.DataFrame) -> pl.DataFrame:
        """What `columns_of` returns, with the columns that `source` does not serve."""
        lacking = self.served.keys() - columns.columns
        known = {"source": source}
        return columns.select(
            pl.lit(known.get(name), kind).alias(name) if name in lacking else pl.col(name)
            for name, kind in self.served.items()
        )

    def claim_rows(self, claims: Iterable[tuple[str, Interval]]) -> pl.DataFrame:
        """Claimed intervals of wallets as rows of a batch's files."""
        pairs = list(claims)
        times = {
            "claim_start": [c.start for _, c in pairs],
            "claim_until": [c.until for _, c in pairs],
        }
        return pl.DataFrame(
            {name: [None] * len(pairs) for name in self.table} | times,
            schema={**self.table, **dict.fromkeys(CLAIM, pl.Int64())},
        ).with_columns(
            pl.Series("wallet_address", [wallet for wallet, _ in pairs], pl.String()),
            *(moments(name) for name in CLAIM),
        )

    def part_rows(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of the table as rows of a batch's files."""
        return rows.with_columns(pl.lit(None, UTC).alias(name) for name in CLAIM).select(
            self.part.keys()
        )


_get = cache(attrgetter)


def moments(name: str) -> pl.Expr:
    """A column of epoch seconds as times."""
    return pl.from_epoch(name, time_unit="s").dt.replace_time_zone("UTC").cast(UTC)


def exact(name: str) -> pl.Expr:
    """A column of amounts in `DIGITS` digits; of floats, true below four billion.

    In fewer steps, a float with so many digits would be multiplied beyond what floats can tell.
    """
    return pl.col(name).round(DIGITS).cast(pl.Decimal(38, DIGITS)).cast(EXACT)


def numbered(served: pl.DataFrame, order: Sequence[str]) -> pl.DataFrame:
    """Served rows of whole seconds, those of a transaction together and in a fixed order.

    `order` are the columns that decide between rows of one transaction, and last the order in which
    they were served. The wallet is in lower case. New columns: `key`, the transaction in lower
    case, or the second if there is none; `number`, the place of a row in it, from 0; `sequence`,
    its place among the wallet's rows of that second as they were served, oldest first, from 0.
    """
    hashes = pl.col("tx_hash").str.to_lowercase()
    ordered = _ordered(
        served.with_columns(
            pl.col("wallet").str.to_lowercase(),
            key=pl.when(hashes == NO_TRANSACTION)
            .then(pl.col("timestamp").cast(pl.String))
            .otherwise(hashes),
            served=pl.int_range(pl.len(), dtype=pl.UInt32),
        ),
        order,
    )
    place = pl.int_range(pl.len(), dtype=pl.Int64)
    new = pl.col("key").ne_missing(pl.col("key").shift()) | pl.col("second").ne_missing(
        pl.col("second").shift()
    )
    return ordered.with_columns(number=place - pl.when(new).then(place).forward_fill())


def identity() -> pl.Expr:
    """The id of a numbered row: `{tx_hash}-{n}`, the same on every fetch."""
    return pl.concat_str("key", pl.lit("-"), "number")


def _ordered(served: pl.DataFrame, order: Sequence[str]) -> pl.DataFrame:
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
    ).sort("second", "key", *order, "served")
