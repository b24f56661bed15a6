"""A BigQuery dataset: its tables as they are and as they should be, and statements on them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import polars as pl
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery.table import TableListItem

from polycopy_assets.errors import Unsuitable
from polycopy_assets.feeds.base import Feed
from polycopy_assets.warehouse.bigquery.access import check_whole
from polycopy_assets.warehouse.bigquery.failing import failing
from polycopy_assets.warehouse.bigquery.job_calls import (
    LOST_SECONDS,
    PAGE_ROWS,
    PATIENCE_SECONDS,
    TIMEOUT,
    Jobs,
    Parameter,
)
from polycopy_assets.warehouse.bigquery.place import apart
from polycopy_assets.warehouse.bigquery.statements import quoted, statement
from polycopy_assets.warehouse.bigquery.table import (
    Wanted,
    collated,
    fields,
    key_of,
    lasting,
    wrong_with,
)

REFUSED = (
    exceptions.BadRequest,
    exceptions.Conflict,
    exceptions.Forbidden,
    exceptions.NotFound,
    exceptions.PreconditionFailed,
)
"""Google does not take a change: we may not make it, another process was faster, the table changes
too often, or it cannot be made of what is there. To repeat it does not help."""


class Dataset:
    """One dataset. It must exist, because its location has to be chosen to match the bucket's.

    `labels` go on every job, `max_bytes_billed` caps every query; `patience` and `lost_after` are
    those of `Jobs`. Every method raises WarehouseError when it cannot do what it says.
    """

    def __init__(
        self,
        client: bigquery.Client,
        project: str,
        dataset: str,
        *,
        max_bytes_billed: int,
        labels: Mapping[str, str],
        patience: float = PATIENCE_SECONDS,
        lost_after: float = LOST_SECONDS,
    ) -> None:
        self.uri = f"bigquery://{project}/{dataset}"
        self._client = client
        self._labels = labels
        self._dataset = bigquery.DatasetReference(project, dataset)
        self._cap = max_bytes_billed
        self._patience = patience
        self._lost_after = lost_after

    @cached_property
    def jobs(self) -> Jobs:
        """Jobs where the dataset is; raises WarehouseError if there is no such dataset."""
        return Jobs(
            self._client,
            self._place.location,
            labels=self._labels,
            max_bytes_billed=self._cap,
            patience=self._patience,
            lost_after=self._lost_after,
            key=self._place.default_encryption_configuration,
        )

    @cached_property
    def _place(self) -> bigquery.Dataset:
        with failing(f"cannot use {self.uri}"):
            return self._client.get_dataset(self._dataset, timeout=TIMEOUT)

    def check_lasting(self, *, partitioned: bool = False) -> None:
        """Raises Unsuitable if a table that is created now would expire, or compare texts oddly."""
        wrong = collated(self._place, self.uri) or lasting(
            self._place, self.uri, partitioned=partitioned
        )
        if wrong:
            raise Unsuitable(wrong)

    def check_near(self, place: tuple[str, str]) -> None:
        """Raises Unsuitable if load jobs cannot read from a bucket in `place`."""
        location = str(self._place.location)
        if apart(place, location):
            raise Unsuitable(
                f"{self.uri} is in {location}, and the bucket in {place[0]}: load jobs cannot read"
                " from there. Make a dataset where the bucket is"
            )

    def check_whole(self, table: bigquery.Table) -> None:
        """Raises Unsuitable if we may not see all rows of a table; costs nothing."""
        check_whole(self._client, table, self.uri, self.jobs.request)

    @property
    def reference(self) -> bigquery.DatasetReference:
        """The dataset's own name."""
        return self._dataset

    def name(self, table: str) -> bigquery.TableReference:
        """The full name of a table."""
        return self._dataset.table(table)

    def found(self, name: str) -> bigquery.Table | None:
        """A table as it is now; None if there is none."""
        with failing(f"cannot use table {name} of {self.uri}", keep=exceptions.NotFound):
            try:
                return self._client.get_table(self.name(name), **self.jobs.request)
            except exceptions.NotFound:
                return None

    def check(self, table: bigquery.Table, wanted: Wanted) -> None:
        """Raises Unsuitable if a table, or one that is made to load it, cannot hold our rows."""
        wrong = wrong_with(table, wanted, self.uri)
        if wrong := wrong or collated(self._place, self.uri):
            raise Unsuitable(wrong)

    def check_table(self, name: str, wanted: Wanted, *, partitioned: bool = False) -> None:
        """Raises Unsuitable if a table cannot be used, or not be made here.

        Nothing is changed: missing columns, which `table` adds, are fine.
        """
        table = self.found(name)
        if table is None:
            self.check_lasting(partitioned=partitioned)
            return
        self.check(table, wanted)
        self.check_whole(table)

    def table(
        self, name: str, wanted: Wanted, meaning: str, *, partitioned: bool = False
    ) -> bigquery.Table:
        """A table as it is now; created if missing, widened if it lacks columns.

        If it is `partitioned`, a new one is so by the month of its rows' time.
        """
        found = self.found(name) or self._create(name, wanted, meaning, partitioned=partitioned)
        return self._widened(found, wanted) or self.table(
            name, wanted, meaning, partitioned=partitioned
        )

    def _create(
        self, name: str, wanted: Wanted, meaning: str, *, partitioned: bool
    ) -> bigquery.Table:
        self.check_lasting(partitioned=partitioned)
        table = bigquery.Table(self.name(name), schema=wanted.fields)
        table.description = meaning
        if partitioned:
            table.time_partitioning = bigquery.TimePartitioning(
                type_=bigquery.TimePartitioningType.MONTH, field="timestamp"
            )
            table.clustering_fields = ["wallet_address"]
        with failing(f"cannot make table {name} of {self.uri}"):
            self._client.create_table(table, exists_ok=True, **self.jobs.request)
            return self._client.get_table(self.name(name), **self.jobs.request)

    def _widened(self, table: bigquery.Table, wanted: Wanted) -> bigquery.Table | None:
        """The table with the columns that it lacks; its own layout and columns stay.

        None if another process has changed it meanwhile.
        """
        self.check(table, wanted)
        has = {field.name.lower() for field in table.schema}
        missing = [field for field in wanted.fields if field.name not in has]
        if not missing:
            return table
        table.schema = [*table.schema, *missing]
        with failing(
            f"cannot widen table {table.table_id} of {self.uri}", exceptions.PreconditionFailed
        ):
            try:
                return self._client.update_table(table, ["schema"], **self.jobs.request)
            except exceptions.PreconditionFailed:
                return None

    def passing_table(
        self, name: str, columns: Mapping[str, pl.DataType], lasts: timedelta, like: bigquery.Table
    ) -> bigquery.Table:
        """A table that expires after `lasts`; created if it is missing.

        It is encrypted with the default key of the dataset, or else with that of table `like`.
        """
        key = key_of(self._place.default_encryption_configuration or like.encryption_configuration)
        table = bigquery.Table(self.name(name), schema=fields(columns))
        table.expires = datetime.now(UTC) + lasts
        table.labels = dict(self._labels)
        if key is not None:
            table.encryption_configuration = bigquery.EncryptionConfiguration(key)
        with failing(f"cannot make table {name} of {self.uri}"):
            made = self._client.create_table(table, exists_ok=True, **self.jobs.request)
            if key_of(made.encryption_configuration) != key:  # made before the dataset had this key
                self._client.delete_table(made, not_found_ok=True, **self.jobs.request)
                self._client.create_table(table, exists_ok=True, **self.jobs.request)
        return table

    def relations(self) -> list[TableListItem]:
        """The tables and views of the dataset; costs nothing."""
        with failing(f"cannot list the tables of {self.uri}"):
            return list(self._client.list_tables(self._dataset, **self.jobs.request))

    def create(self, table: bigquery.Table) -> bigquery.Table:
        """Creates a table or view; what is in `REFUSED` is not translated."""
        with failing(f"cannot make {table.table_id} in {self.uri}", keep=REFUSED):
            return self._client.create_table(table, **self.jobs.request)

    def update(self, table: bigquery.Table, what: Sequence[str]) -> bigquery.Table:
        """Changes `what` of a table or view; raises as `create`."""
        with failing(f"cannot change {table.table_id} in {self.uri}", keep=REFUSED):
            return self._client.update_table(table, what, **self.jobs.request)

    def row_count(self, table: bigquery.Table) -> int | None:
        """Rows of a table as it is now, by its metadata; None if it is not there."""
        found = self.found(table.table_id)
        return None if found is None else int(found.num_rows or 0)

    def listing(
        self, table: bigquery.Table, wanted: Sequence[bigquery.SchemaField]
    ) -> Iterator[bigquery.Row]:
        """Columns `wanted` of all rows of a table, page by page; without a query, for free."""
        with failing(f"cannot read table {table.table_id} of {self.uri}"):
            yield from self._client.list_rows(
                table, selected_fields=wanted, page_size=PAGE_ROWS, **self.jobs.request
            )

    def listed(self, table: bigquery.Table) -> list[dict[str, Any]]:
        """All rows of a table, for one that is small. They are listed without a query, for free."""
        with failing(f"cannot read table {table.table_id} of {self.uri}"):
            rows = self._client.list_rows(table, **self.jobs.request)
            return [dict(row.items()) for row in rows]

    def count_rows(self, table: bigquery.Table) -> int:
        """Rows in a table, which must exist; one query, which bills nothing."""
        return sum(row[0] for row in self.rows("count_rows", table=quoted(table.reference)))

    def has_rows(self, table: bigquery.Table, number: int) -> bool:
        """Whether a table has at least `number` rows.

        Its metadata may say so without a query. Otherwise a query decides, because metadata may
        lag.
        """
        return int(table.num_rows or 0) >= number or self.count_rows(table) >= number

    def drop(self, table: bigquery.Table) -> None:
        """Drops a table; no error if it is gone."""
        with failing(f"cannot drop table {table.table_id} of {self.uri}"):
            self._client.delete_table(table, not_found_ok=True, **self.jobs.request)

    def label(self, table: bigquery.Table, labels: Mapping[str, str | None]) -> bool:
        """Sets `labels` on `table`, and removes those that are None, all at once.

        False if another process has changed the table meanwhile.
        """
        table.labels = {**table.labels, **labels}
        with failing(
            f"cannot label table {table.table_id} of {self.uri}", exceptions.PreconditionFailed
        ):
            try:
                self._client.update_table(table, ["labels"], **self.jobs.request)
            except exceptions.PreconditionFailed:
                return False
        table.labels = {name: value for name, value in table.labels.items() if value is not None}
        return True

    def query(
        self,
        name: str,
        parameters: Sequence[Parameter] = (),
        feed: Feed | None = None,
        **names: str,
    ) -> bigquery.QueryJob:
        """Runs statement `name`, with more `names` filled in, and waits for its end."""
        return self.jobs.query(self.sql(name, feed, **names), parameters)

    def rows(
        self,
        name: str,
        parameters: Sequence[Parameter] = (),
        feed: Feed | None = None,
        **names: str,
    ) -> Iterable[bigquery.Row]:
        """The rows of statement `name`."""
        return self.jobs.rows(
            self.jobs.query(self.sql(name, feed, **names), parameters, reads=True)
        )

    def sql(self, name: str, feed: Feed | None = None, **names: str) -> str:
        """Statement `name` for this dataset, with more `names` filled in; see `statements.py`."""
        return statement(name, self._dataset, feed, **names)
