"""Claims, and rows in general, as Parquet files that DuckDB reads: faster than parameters."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from polycopy_assets.trades.batch import Claim, claimed_intervals


@contextmanager
def claims_file(claims: Sequence[Claim]) -> Iterator[Path]:
    """The claimed intervals as a Parquet file that DuckDB can read."""
    intervals = claimed_intervals(claims)
    frame = pl.DataFrame(
        {
            "wallet_address": [wallet for wallet, _ in intervals],
            "start": [span.start for _, span in intervals],
            "until": [span.until for _, span in intervals],
        },
        schema={"wallet_address": pl.String, "start": pl.Int64, "until": pl.Int64},
    )
    with parquet(frame) as path:
        yield path


@contextmanager
def claims_table(claims: Mapping[str, int]) -> Iterator[Path]:
    """The time until which each wallet's claims reach, as a Parquet file that DuckDB can read."""
    frame = pl.DataFrame(
        {"wallet_address": list(claims), "until": list(claims.values())},
        schema={"wallet_address": pl.String, "until": pl.Int64},
    )
    with parquet(frame) as path:
        yield path


@contextmanager
def parquet(frame: pl.DataFrame) -> Iterator[Path]:
    """The rows of `frame` as a Parquet file, removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        frame.write_parquet(path)
        yield path
