"""The columns of a feed's table, as Dagster shows them."""

import dagster as dg
import polars as pl

from polycopy_assets.feeds.base import Feed

_TYPES: dict[type[pl.DataType], str] = {
    pl.String: "string",
    pl.Float64: "float",
    pl.Int64: "int",
    pl.Decimal: "decimal",
    pl.Boolean: "bool",
    pl.Datetime: "timestamp",
}


def columns_of(feed: Feed) -> dg.TableSchema:
    """The columns of the table of `feed`, and of its batches."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name, _TYPES[type(kind)], feed.relation.columns.get(name))
            for name, kind in feed.frame().table.items()
        ]
    )


def lineage_of(feed: Feed) -> dg.TableColumnLineage:
    """Each column of the table comes from the column of that name in the batches."""
    return dg.TableColumnLineage(
        {name: [dg.TableColumnDep(feed.assets.combined, name)] for name in feed.frame().table}
    )
