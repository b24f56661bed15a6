"""Rows of the table from rows as served, as combining makes them."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import polars as pl

from polycopy_assets.feeds.trades.frame import table_rows
from polycopy_assets.feeds.trades.shapes import SHAPES, guess_source
from polycopy_assets_tests.of_trades import columns_of, served_frame


def as_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Rows as the lines of a segment."""
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def table_of(lines: bytes, source: str = "") -> pl.DataFrame:
    """The rows of the table that a segment's lines become."""
    source = source or guess_source(lines)
    return table_rows(served_frame(source, columns_of(source, SHAPES.of(source).rows(lines))))
