"""Reading a BigQuery dataset for people: queries of theirs, and rows of a feed as a file.

A dry run says what a statement is and what it would process, before anything runs: it is refused
unless it is one SELECT within the cap. Names without a dataset are those of ours.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.cloud import bigquery
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

from polycopy_assets.errors import QueryRefused, WarehouseError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.text import one_line
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.files import schema_of, write
from polycopy_assets.warehouse.bigquery.job_calls import Parameter
from polycopy_assets.warehouse.bigquery.table import kinds
from polycopy_assets.warehouse.joined import lacking, no_table
from polycopy_assets.warehouse.reading import Form, Selection

_MISSING = re.compile(r"Not found: Table (\S+)\.(\w+)")
"""What BigQuery says of a table or view that a query names: its dataset, and its name."""


class BigQueryAnswer:
    """The rows of a query job; see `warehouse.reading.Answer`."""

    def __init__(self, dataset: Dataset, job: bigquery.QueryJob) -> None:
        self._jobs, self._job = dataset.jobs, job
        self._fields = dataset.jobs.columns(job)
        self.names: Sequence[str] = [field.name for field in self._fields]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, page by page."""
        return (tuple(row.values()) for row in self._jobs.rows(self._job))

    def write_parquet(self, path: Path) -> None:
        """Writes the rows to a file."""
        write(self.rows(), schema_of(self._fields), "parquet", path)


class BigQueryReader:
    """Reads the tables of one dataset; see `warehouse.reading.Reader`."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def estimate(self, sql: str) -> int:
        """Bytes that a query would process, by a dry run, which costs nothing."""
        jobs = self._dataset.jobs
        what = "BigQuery does not take the query"
        try:
            tried = jobs.dry_run(sql, [], what, self._dataset.reference)
        except WarehouseError as error:
            raise self._explained(error) from error
        if tried.statement_type != "SELECT":
            raise QueryRefused(
                "only one statement that reads is accepted, a SELECT: BigQuery calls this"
                f" {one_line(tried.statement_type or 'unknown')}"
            )
        return int(tried.total_bytes_processed or 0)

    def _explained(self, error: WarehouseError) -> WarehouseError:
        """What makes the table or view that a query lacks; `error` itself if it is none of ours."""
        ours = self._dataset.reference
        missing = _MISSING.search(str(error))
        if missing is None or missing[1] != f"{ours.project}:{ours.dataset_id}":
            return error
        there = {item.table_id for item in self._dataset.relations()}
        said = lacking(missing[2], there, self._dataset.uri)
        return WarehouseError(said) if said else error

    @contextmanager
    def ask(self, sql: str) -> Iterator[BigQueryAnswer]:
        """Runs a query, if it stays within the cap."""
        size, cap = self.estimate(sql), self._dataset.jobs.cap
        if size > cap:
            raise WarehouseError(
                f"the query would process {size:,} bytes, and POLYCOPY_MAX_BYTES_BILLED allows"
                f" {cap:,}: nothing was run. Bounds on timestamp and fewer columns make it cheaper"
            )
        job = self._dataset.jobs.query(sql, reads=True, within=self._dataset.reference)
        yield BigQueryAnswer(self._dataset, job)

    def export(self, feed: Feed, chosen: Selection, form: Form, path: Path) -> int:
        """Writes rows of a feed to a file: all of them are listed for free, some are a query."""
        table = self._dataset.found(feed.table)
        if table is None:
            raise WarehouseError(
                f"{no_table(feed.table, self._dataset.uri)}. Is POLYCOPY_WAREHOUSE right?"
            )
        there = {field.name.lower() for field in table.schema}
        if chosen.wallets or chosen.since is not None:
            rows = self._selected(feed, chosen, there)
        else:
            rows = self._all(feed, table, there)
        return write(rows, feed.frame().table, form, path)

    def _all(self, feed: Feed, table: bigquery.Table, there: set[str]) -> Iterator[Sequence[Any]]:
        ours = feed.frame().table
        wanted = [field for field in table.schema if field.name.lower() in ours]
        names = {field.name.lower(): field.name for field in wanted}
        for row in self._dataset.listing(table, wanted):
            yield [row[names[name]] if name in there else None for name in ours]

    def _selected(self, feed: Feed, chosen: Selection, there: set[str]) -> Iterator[Sequence[Any]]:
        columns = [
            name if name in there else f"CAST(NULL AS {kinds(kind)}) AS {name}"
            for name, kind in feed.frame().table.items()
        ]
        parameters: list[Parameter] = []
        whose = since = "TRUE"
        if chosen.wallets:
            whose = "wallet_address IN UNNEST(@wallets)"
            parameters.append(ArrayQueryParameter("wallets", "STRING", list(chosen.wallets)))
        if chosen.since is not None:
            since = "timestamp >= @since"
            parameters.append(ScalarQueryParameter("since", "TIMESTAMP", chosen.since))
        places = {"columns": ", ".join(columns), "whose": whose, "since": since}
        for row in self._dataset.rows("export", parameters, feed, **places):
            yield row.values()
