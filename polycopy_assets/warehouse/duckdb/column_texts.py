"""The columns of a feed's table in statements for DuckDB."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from polycopy_assets.feeds.base import Feed

if TYPE_CHECKING:
    import polars as pl

TIME = "timestamp"
"""The time of a row, in every feed; older tables have it without a zone."""


def kinds(kind: "pl.DataType") -> tuple[str, ...]:
    """The types of a column that lose nothing, our own first; our times are whole seconds."""
    import polars as pl  # noqa: PLC0415 - what only counts rows does without it

    if isinstance(kind, pl.Decimal):
        return (f"DECIMAL({kind.precision},{kind.scale})",)
    return {
        pl.String: ("VARCHAR",),
        pl.Float64: ("DOUBLE",),
        pl.Int64: ("BIGINT", "HUGEINT"),
        pl.Boolean: ("BOOLEAN",),
        pl.Datetime: ("TIMESTAMP WITH TIME ZONE", "TIMESTAMP", "TIMESTAMP_MS", "TIMESTAMP_S"),
    }[type(kind)]


def definitions(feed: Feed) -> str:
    """The columns of a new table."""
    return ",\n    ".join(f"{name} {kind}" for name, kind in _columns(feed))


def additions(feed: Feed) -> str:
    """Statements that add each column which a table of an older version may lack."""
    return "\n".join(
        f"ALTER TABLE {feed.table} ADD COLUMN IF NOT EXISTS {name} {kind};"
        for name, kind in _columns(feed)
    )


def chosen(feed: Feed) -> str:
    """The columns of a batch's files as the table stores them."""
    return ",\n    ".join(
        f"as_stored({name}) AS {name}" if name == TIME else name for name in feed.frame().table
    )


def _columns(feed: Feed) -> Iterator[tuple[str, str]]:
    for name, kind in feed.frame().table.items():
        yield name, kinds(kind)[0]
