"""The statements for BigQuery, with the names of a dataset's tables filled in."""

from importlib import resources
from string import Template

from google.cloud import bigquery

from polycopy_assets.boards.columns import TABLE as LEADERBOARD
from polycopy_assets.errors import WarehouseError

BATCHES = "polycopy_batches"
"""The table that says which batches `trades` holds."""


def statement(name: str, dataset: bigquery.DatasetReference, **names: str) -> str:
    """Statement `name`, with names of tables and columns, which cannot be parameters, filled in.

    `within` bounds the rows of `trades` in statements that can be bounded: all, if not given.
    """
    package = resources.files("polycopy_assets.warehouse") / "sql" / "bigquery"
    return Template((package / f"{name}.sql").read_text()).substitute(
        {
            "trades": quoted(dataset.table("trades")),
            "traders": quoted(dataset.table("traders")),
            "checkpoint": quoted(dataset.table("backfill_checkpoint")),
            "batches": quoted(dataset.table(BATCHES)),
            "leaderboard": quoted(dataset.table(LEADERBOARD)),
            "within": "TRUE",
            **names,
        }
    )


def quoted(table: bigquery.TableReference) -> str:
    """`project.dataset.table` for use between backticks; raises WarehouseError if it has any."""
    name = f"{table.project}.{table.dataset_id}.{table.table_id}"
    if "`" in name or "\\" in name:
        raise WarehouseError(f"not a table name: {name!r}")
    return name
