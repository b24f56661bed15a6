"""The columns of `trades`, as Dagster shows them."""

import dagster as dg
import polars as pl

from polycopy_assets.feeds.trades.columns import TRADES
from polycopy_assets.feeds.trades.frame import TABLE_SCHEMA

_TYPES: dict[type[pl.DataType], str] = {
    pl.String: "string",
    pl.Float64: "float",
    pl.Int64: "int",
    pl.Datetime: "timestamp",
}

TRADES_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn(name, _TYPES[type(kind)], TRADES[name])
        for name, kind in TABLE_SCHEMA.items()
    ]
)

TRADES_LINEAGE = dg.TableColumnLineage(
    {
        column.name: [dg.TableColumnDep("combined_trades", column.name)]
        for column in TRADES_COLUMNS.columns
    }
)
"""Each column of the table comes from the column of that name in the batches."""
