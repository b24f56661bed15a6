"""Claims, and rows in general, as Parquet files that DuckDB reads: faster than parameters."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from polycopy_assets.ledger.facts import Checkpoint
from polycopy_assets.trades.batch import Claim, claimed_intervals


@contextmanager
def claims_file(claims: Sequence[Claim]) -> Iterator[Path]:
    """The claimed intervals as a Parquet file that DuckDB can read."""
    intervals = claimed_intervals(claims)
    columns = (
        [wallet for wallet, _ in intervals],
        [span.start for _, span in intervals],
        [span.until for _, span in intervals],
    )
    with _parquet({"wallet_address": str, "start": int, "until": int}, columns) as path:
        yield path


@contextmanager
def claims_table(claims: Mapping[str, int]) -> Iterator[Path]:
    """The time until which each wallet's claims reach, as a Parquet file that DuckDB can read."""
    with _parquet(
        {"wallet_address": str, "until": int}, (list(claims), list(claims.values()))
    ) as path:
        yield path


@contextmanager
def checkpoint_file(rows: Sequence[Checkpoint]) -> Iterator[Path]:
    """Rows of `backfill_checkpoint` as a Parquet file that DuckDB can read."""
    types = {
        "wallet_address": str,
        "completed": bool,
        "processed_at": datetime,
        "trade_count": int,
        "gcs_file": str,
        "upload_successful": bool,
    }
    with _parquet(types, [[row[n] for row in rows] for n in range(len(types))]) as path:
        yield path


@contextmanager
def _parquet(types: Mapping[str, type], columns: Sequence[Sequence[object]]) -> Iterator[Path]:
    """`columns`, named and typed by `types`, as a Parquet file that is removed at the end.

    Times are in UTC.
    """
    import polars as pl  # noqa: PLC0415 - short commands write no rows

    kinds = {
        str: pl.String(),
        bool: pl.Boolean(),
        int: pl.Int64(),
        datetime: pl.Datetime("us", "UTC"),
    }
    schema = {name: kinds[kind] for name, kind in types.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        pl.DataFrame(columns, schema=schema, orient="col").write_parquet(path)
        yield path
