"""What the tables, views and columns of the warehouse mean: one line each, with the unit.

Here are those that belong to no feed; a feed's are in its folder. Nothing says it elsewhere:
DuckDB's comments, BigQuery's descriptions, Dagster's column schema and `docs/analysis.md` say this.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Relation(NamedTuple):
    """A table or view: what a row of it is, and what each column means."""

    meaning: str
    columns: Mapping[str, str]


TRADERS = Relation(
    "The wallets that are wanted.",
    {"wallet_address": "The wallet, 0x and 40 hexadecimal digits."},
)
"""The table `traders`."""


def batches(table: str) -> Relation:
    """What the table beside `table` means; a warehouse need not have all of these columns."""
    return Relation(
        f"Which batches {table} holds. polycopy keeps it: do not change it.",
        {
            "batch": "The batch's number.",
            "rows": "Rows of the batch.",
            "loaded_at": "When the batch was loaded, UTC.",
            "store": "Id of the store that the batch comes from.",
            "digest": "CRC32C of the batch's manifest.",
        },
    )
