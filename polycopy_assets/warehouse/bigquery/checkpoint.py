"""The old job's table `backfill_checkpoint` in a BigQuery dataset."""

from collections.abc import Sequence

from google.cloud.bigquery import (
    ArrayQueryParameter,
    ScalarQueryParameter,
    StructQueryParameter,
)

from polycopy_assets.ledger.facts import Checkpoint
from polycopy_assets.warehouse.base import as_text
from polycopy_assets.warehouse.bigquery.dataset import Dataset

_TICKS = 10_000
_TYPES = {
    "wallet_address": "STRING",
    "completed": "BOOL",
    "processed_at": "TIMESTAMP",
    "trade_count": "INT64",
    "gcs_file": "STRING",
    "upload_successful": "BOOL",
}


def read(dataset: Dataset) -> list[Checkpoint] | None:
    """All rows; None if there is no such table. One query."""
    if dataset.found("backfill_checkpoint") is None:
        return None
    return [Checkpoint(as_text(row[0]), *row.values()[1:]) for row in dataset.rows("checkpoint")]


def write(dataset: Dataset, rows: Sequence[Checkpoint]) -> None:
    """Writes `rows`; one statement per 10,000 wallets."""
    for start in range(0, len(rows), _TICKS):
        some = rows[start : start + _TICKS]
        ticks = ArrayQueryParameter("ticks", "STRUCT", [_tick(row) for row in some])
        dataset.query("mark_complete", [ticks])


def _tick(row: Checkpoint) -> StructQueryParameter:
    """A row of `backfill_checkpoint` as a parameter."""
    return StructQueryParameter(
        None,
        *(ScalarQueryParameter(name, kind, getattr(row, name)) for name, kind in _TYPES.items()),
    )
