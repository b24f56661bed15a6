"""The table `leaderboard` in a BigQuery dataset."""

from datetime import datetime

from google.cloud.bigquery import (
    ArrayQueryParameter,
    ScalarQueryParameter,
    StructQueryParameter,
)

from polycopy_assets.boards.board import Entry
from polycopy_assets.boards.columns import RELATION, SCHEMA, TABLE
from polycopy_assets.boards.snapshot import Key, Snapshot
from polycopy_assets.warehouse.base import snapshot_values
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.table import Wanted, fields


class BigQueryBoards:
    """See `warehouse.base.BoardTable`. Each method is one query."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def held(self) -> set[Key]:
        """The snapshots that the table has rows of; none, without a query, if there is none."""
        if self._dataset.found(TABLE) is None:
            return set()
        rows = (row.values() for row in self._dataset.rows("held_snapshots"))
        return {Key(at.date(), *board) for at, *board in rows}

    def load(self, snapshot: Snapshot) -> None:
        """Replaces what the table has of the snapshot's board and day, in one statement."""
        wanted = Wanted(fields(SCHEMA, RELATION.columns))
        self._dataset.table(TABLE, wanted, RELATION.meaning)
        values = [
            ScalarQueryParameter(
                name, "TIMESTAMP" if isinstance(value, datetime) else "STRING", value
            )
            for name, value in snapshot_values(snapshot).items()
        ]
        entries = [_entry(entry) for entry in snapshot.entries]
        self._dataset.query(
            "load_snapshot", [*values, ArrayQueryParameter("entries", "STRUCT", entries)]
        )


def _entry(entry: Entry) -> StructQueryParameter:
    """A wallet as a parameter."""
    return StructQueryParameter(
        None,
        ScalarQueryParameter("rank", "INT64", entry.rank),
        ScalarQueryParameter("wallet", "STRING", entry.wallet),
        ScalarQueryParameter("name", "STRING", entry.name),
        ScalarQueryParameter("pnl", "FLOAT64", entry.pnl),
        ScalarQueryParameter("volume", "FLOAT64", entry.volume),
    )
