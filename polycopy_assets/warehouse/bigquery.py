"""A BigQuery dataset as the warehouse: for production.

A batch goes into a staging table of its own by one load job, and from there into `trades` by one
MERGE. Both have ids that are made of the batch, so a run that was killed finds what it started.
`trades` carries the number of the last batch in its label, so that what is loaded is told by the
table itself and reading it costs nothing.
"""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib import resources
from string import Template
from typing import Protocol

import polars as pl
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import (
    ArrayQueryParameter,
    ScalarQueryParameter,
    StructQueryParameter,
)

from polycopy_assets.errors import WarehouseError
from polycopy_assets.ledger.facts import Checkpoint, Tally
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.trades.frame import PART_SCHEMA, TABLE_SCHEMA
from polycopy_assets.warehouse.base import Cost, Duplicates, Loaded, Months, Parts
from polycopy_assets.warehouse.jobs import ATTEMPTS, TIMEOUT, Jobs, Parameter, failing

BATCHES_LABEL = "polycopy_batches"
STAGING = "polycopy_staging_"
STAGING_LASTS = timedelta(days=3)
CHECK_BYTES = 1_000_000_000
"""Bytes that the check for duplicates may read after a load."""

MERGES_AT_ONCE = 2
_FEW_WALLETS = 1_000
_NEW_TRADERS = 20_000
_URIS = 10_000
_TICKS = 10_000
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_TYPES: Mapping[type[pl.DataType], str] = {
    pl.String: "STRING",
    pl.Float64: "FLOAT64",
    pl.Datetime: "TIMESTAMP",
}
_CHECKPOINT_TYPES = {
    "wallet_address": "STRING",
    "completed": "BOOL",
    "processed_at": "TIMESTAMP",
    "trade_count": "INT64",
    "gcs_file": "STRING",
    "upload_successful": "BOOL",
}
_LEGACY = {"FLOAT": "FLOAT64", "INTEGER": "INT64", "BOOLEAN": "BOOL"}

_merging: dict[str, threading.BoundedSemaphore] = defaultdict(
    lambda: threading.BoundedSemaphore(MERGES_AT_ONCE)
)


class Loader(Protocol):
    """Another way than a load job to fill a staging table; see `warehouse.dts`."""

    def fill(self, table: bigquery.Table, folder: str, uris: Sequence[str]) -> None:
        """Makes `table` hold exactly the Parquet files `uris`, which are all of `folder`."""
        ...


class BigQueryWarehouse:
    """The tables in one dataset; see `warehouse.base.Warehouse`.

    `labels` go on every job and `max_bytes_billed` caps every query. The dataset has to exist: its
    location is a decision, and has to suit the bucket's. `loader` None means load jobs.
    """

    def __init__(
        self,
        client: bigquery.Client,
        project: str,
        dataset: str,
        *,
        max_bytes_billed: int,
        labels: Mapping[str, str],
        loader: Loader | None = None,
        patience: float = 600.0,
        lost_after: float = 120.0,
    ) -> None:
        self.uri = f"bigquery://{project}/{dataset}"
        self._client = client
        self._dataset = bigquery.DatasetReference(project, dataset)
        self._cap = max_bytes_billed
        self._labels = labels
        self._loader = loader
        self._patience = patience
        self._lost_after = lost_after

    @property
    def cost(self) -> Cost:
        """What was spent since the warehouse was opened."""
        return self._jobs.cost

    def check_writable(self) -> None:
        """Makes the tables that are missing; raises WarehouseError if they cannot be used."""
        self._table("traders")
        self._table("trades")

    def add_traders(self, wallets: Iterable[str]) -> int:
        """Adds wallets that `traders` does not hold yet, whatever their case; how many."""
        self._table("traders")
        every = sorted(set(wallets))
        added = 0
        for start in range(0, len(every), _NEW_TRADERS):
            some = ArrayQueryParameter("wallets", "STRING", every[start : start + _NEW_TRADERS])
            added += self._jobs.query(self._sql("add_traders"), [some]).num_dml_affected_rows or 0
        return added

    def traders(self) -> list[str | None]:
        """`traders.wallet_address`, as it stands there; one query, of that column alone."""
        if self._found("traders") is None:
            return []
        return [row[0] for row in self._rows("traders")]

    def traders_state(self) -> str:
        """Names the state of `traders`, by its metadata; costs nothing."""
        table = self._found("traders")
        return "none" if table is None else str(table.etag)

    def checkpoint(self) -> list[Checkpoint] | None:
        """All rows of `backfill_checkpoint`; None if there is no such table. One query."""
        if self._found("backfill_checkpoint") is None:
            return None
        return [Checkpoint(*row.values()) for row in self._rows("checkpoint")]

    def tick_off(self, rows: Sequence[Checkpoint]) -> None:
        """Makes `backfill_checkpoint` say what `rows` say; one statement for 10,000 wallets."""
        for start in range(0, len(rows), _TICKS):
            some = rows[start : start + _TICKS]
            ticks = ArrayQueryParameter("ticks", "STRUCT", [_tick(row) for row in some])
            self._jobs.query(self._sql("tick_off"), [ticks])

    def loaded_batches(self) -> set[int]:
        """Numbers of the batches that the table holds, by its label; costs nothing."""
        table = self._found("trades")
        return set(range(1, _last_batch(table) + 1)) if table else set()

    def load(self, manifest: Manifest, parts: Parts) -> Loaded:
        """Stages the batch, replaces what it claims by its rows, and notes it on the table."""
        if manifest.claims_part is None:
            raise WarehouseError(
                f"batch {manifest.batch} was combined for DuckDB alone: it has no file of claims"
            )
        if _last_batch(self._table("trades")) >= manifest.batch:
            # Its rows go over those of later batches, which are to be loaded behind it again.
            self._note(manifest.batch - 1, lower=True)
        name = self._batch_name(manifest)
        for _ in range(ATTEMPTS):
            staging = self._staging(name)
            try:
                self._fill(manifest, parts, name, staging)
                with _merging[f"{self.uri}/trades"]:
                    loaded = self._merge(manifest, name, staging)
            except WarehouseError:
                if self._rows_of(staging) is not None:
                    raise
                continue  # somebody who loads the same batch was faster, and has dropped it
            self._note(manifest.batch)
            self._drop(staging)
            return loaded
        raise WarehouseError(
            f"the staging table of batch {manifest.batch} in {self.uri} goes away again and again:"
            " who drops it?"
        )

    def count_rows(self) -> int:
        """Rows in `trades`; one query, which bills nothing."""
        if self._found("trades") is None:
            return 0
        return sum(row[0] for row in self._rows("count_rows"))

    def rows_by_wallet(self) -> Mapping[str, int]:
        """Rows in `trades` for each `wallet_address`; one query, of that column alone."""
        if self._found("trades") is None:
            return {}
        return {row[0]: row[1] for row in self._rows("rows_by_wallet")}

    def tally(self, claims: Mapping[str, int]) -> list[tuple[str | None, Tally]]:
        """The rows of `trades`, counted for each `wallet_address`; one query, of three columns."""
        table = self._found("trades")
        if table is None:
            return []
        known = {field.name.lower() for field in table.schema}
        sql = self._sql("tally", source="T.source" if "source" in known else "NULL")
        rows = self._jobs.rows(self._jobs.query(sql, [_packed(claims)]))
        return [(row[0], Tally(*row.values()[1:])) for row in rows]

    def delete_misspelled(self, claims: Mapping[str, int]) -> int:
        """Deletes the rows inside `claims` whose address is not in lower case; how many."""
        job = self._jobs.query(self._sql("delete_misspelled"), [_packed(claims)])
        return job.num_dml_affected_rows or 0

    def duplicates(self, limit: int) -> Duplicates:
        """Ids that occur more than once in as many of the newest months as CHECK_BYTES allows."""
        if self._found("trades") is None:
            return Duplicates([])
        limited = ScalarQueryParameter("limit", "INT64", limit)
        rows, since = self._newest("duplicates", [limited])
        return Duplicates([(row[0], row[1], row[2]) for row in rows], since)

    def rows_by_month(self) -> Months:
        """Rows in `trades` for each of as many of the newest months as CHECK_BYTES allows."""
        if self._found("trades") is None:
            return Months({})
        rows, since = self._newest("rows_by_month", [])
        return Months({row[0]: row[1] for row in rows}, since)

    def _newest(
        self, name: str, parameters: Sequence[Parameter]
    ) -> tuple[list[bigquery.Row], datetime | None]:
        """What statement `name` gives over as many of the newest months as CHECK_BYTES allows.

        And since when that is; None if it is the whole table.
        """
        sql = self._sql(name)

        def bounded(since: datetime) -> list[Parameter]:
            return [ScalarQueryParameter("since", "TIMESTAMP", since), *parameters]

        windows = [_BEGINNING, *_months_back(12, 3, 1)]
        since = next(
            (each for each in windows if self._jobs.estimate(sql, bounded(each)) <= CHECK_BYTES),
            windows[-1],
        )
        rows = list(self._jobs.rows(self._jobs.query(sql, bounded(since))))
        return rows, None if since == _BEGINNING else since

    # -- tables ---------------------------------------------------------------------------------

    @cached_property
    def _jobs(self) -> Jobs:
        """Jobs where the dataset is; raises WarehouseError if there is no such dataset."""
        with failing(f"cannot use {self.uri}"):
            location = self._client.get_dataset(self._dataset, timeout=TIMEOUT).location
        return Jobs(
            self._client,
            location,
            labels=self._labels,
            max_bytes_billed=self._cap,
            patience=self._patience,
            lost_after=self._lost_after,
        )

    def _name(self, table: str) -> bigquery.TableReference:
        return self._dataset.table(table)

    def _found(self, name: str) -> bigquery.Table | None:
        """A table as it is now; None if there is none."""
        with failing(f"cannot use table {name} of {self.uri}", keep=exceptions.NotFound):
            try:
                return self._client.get_table(self._name(name), **self._jobs.request)
            except exceptions.NotFound:
                return None

    def _table(self, name: str) -> bigquery.Table:
        """`traders` or `trades` as it is now; made if it is missing, widened if it is narrower."""
        wanted = _schema(TABLE_SCHEMA)
        if name == "traders":
            wanted = wanted[:1]
        return self._widened(self._found(name) or self._create(name, wanted), wanted)

    def _create(self, name: str, schema: Sequence[bigquery.SchemaField]) -> bigquery.Table:
        table = bigquery.Table(self._name(name), schema=schema)
        if name == "trades":
            table.time_partitioning = bigquery.TimePartitioning(
                type_=bigquery.TimePartitioningType.MONTH, field="timestamp"
            )
            table.clustering_fields = ["wallet_address"]
        with failing(f"cannot make table {name} of {self.uri}"):
            self._client.create_table(table, exists_ok=True, **self._jobs.request)
            return self._client.get_table(self._name(name), **self._jobs.request)

    def _widened(
        self, table: bigquery.Table, wanted: Sequence[bigquery.SchemaField]
    ) -> bigquery.Table:
        """The table with the columns that it lacks; its own layout and columns stay."""
        has = {field.name.lower(): field for field in table.schema}
        for field in wanted:
            other = has.get(field.name)
            if other is not None and _kind(other) != _kind(field):
                raise WarehouseError(
                    f"column {field.name} of table {table.table_id} in {self.uri} is"
                    f" {_kind(other)} and should be {_kind(field)}"
                )
        missing = [field for field in wanted if field.name not in has]
        if not missing:
            return table
        table.schema = [*table.schema, *missing]
        with failing(
            f"cannot widen table {table.table_id} of {self.uri}", exceptions.PreconditionFailed
        ):
            try:
                return self._client.update_table(table, ["schema"], **self._jobs.request)
            except exceptions.PreconditionFailed:
                return self._table(table.table_id)  # somebody else changed it meanwhile

    # -- loading --------------------------------------------------------------------------------

    def _batch_name(self, manifest: Manifest) -> str:
        """Names a batch, and the table that it goes to, for good: its number and a digest."""
        what = f"{self.uri} {manifest.batch} ".encode() + manifest.encode()
        return f"{manifest.batch:08d}_{hashlib.sha256(what).hexdigest()[:16]}"

    def _staging(self, name: str) -> bigquery.Table:
        """The batch's staging table, made if it is missing."""
        staging = bigquery.Table(self._name(f"{STAGING}{name}"), schema=_schema(PART_SCHEMA))
        staging.expires = datetime.now(UTC) + STAGING_LASTS
        staging.labels = dict(self._labels)
        with failing(f"cannot make table {staging.table_id} of {self.uri}"):
            self._client.create_table(staging, exists_ok=True, **self._jobs.request)
        return staging

    def _fill(self, manifest: Manifest, parts: Parts, name: str, staging: bigquery.Table) -> None:
        """Makes the staging table hold exactly the batch's trades and claims."""
        files = [*manifest.parts, *([manifest.claims_part] if manifest.claims_part else [])]
        if len(files) > _URIS:
            raise WarehouseError(f"batch {manifest.batch} has more files than a load job takes")
        expected = sum(part.rows for part in files)
        uris = [parts.uri(part.name) for part in files]
        if self._rows_of(staging) != expected:
            if self._loader is not None:
                self._loader.fill(staging, uris[0].rsplit("/", 1)[0], uris)
            else:
                self._jobs.run(
                    bigquery.LoadJob,
                    f"polycopy_load_{name}",
                    lambda job_id, labels: self._jobs.begin_load(uris, staging, job_id, labels),
                    accept=lambda _: self._rows_of(staging) == expected,
                )
        staged = self._rows_of(staging)
        if staged != expected:
            raise WarehouseError(
                f"batch {manifest.batch} has {expected} rows by its manifest, but {staged or 0}"
                f" were staged from its parts; nothing was loaded"
            )

    def _rows_of(self, staging: bigquery.Table) -> int | None:
        """Rows of a staging table; None if it is not there."""
        with failing(f"cannot read table {staging.table_id} of {self.uri}", exceptions.NotFound):
            try:
                return int(self._client.get_table(staging, **self._jobs.request).num_rows or 0)
            except exceptions.NotFound:
                return None

    def _merge(self, manifest: Manifest, name: str, staging: bigquery.Table) -> Loaded:
        claimed = 0

        def begin(job_id: str, labels: Mapping[str, str]) -> bigquery.QueryJob:
            # What there is to delete is asked anew for each attempt, after the one before ended.
            nonlocal claimed
            claimed, parameters = self._claimed(manifest, staging)
            return self._jobs.begin_query(
                self._sql("merge", staging=staging), parameters, job_id, labels
            )

        # A MERGE that ended before this call may have been overtaken; running it again is safe.
        job = self._jobs.run(
            bigquery.QueryJob, f"polycopy_merge_{name}", begin, accept=lambda _: False
        )
        affected = job.num_dml_affected_rows or 0
        inserted = job.dml_stats.inserted_row_count if job.dml_stats else affected - claimed
        deleted = job.dml_stats.deleted_row_count if job.dml_stats else affected - inserted
        if inserted != manifest.rows:
            raise WarehouseError(
                f"batch {manifest.batch} has {manifest.rows} rows, but job {job.job_id} put"
                f" {inserted} into the table; it counts as not loaded"
            )
        return Loaded(inserted, deleted)

    def _claimed(self, manifest: Manifest, staging: bigquery.Table) -> tuple[int, list[Parameter]]:
        """How many rows the MERGE has to delete, and its parameters, which bound where they are.

        A MERGE that may delete is billed all columns of all partitions that it may delete from;
        this query is billed two columns, and most of the time finds that there are none.
        """
        wallets = sorted({claim.wallet for claim in manifest.claims})
        many = len(wallets) > _FEW_WALLETS
        whose: list[Parameter] = [
            ScalarQueryParameter("many", "BOOL", many),
            ArrayQueryParameter("wallets", "STRING", [] if many else wallets),
            ScalarQueryParameter("first", "STRING", wallets[0]),
            ScalarQueryParameter("last", "STRING", wallets[-1]),
        ]
        low = datetime.fromtimestamp(min(claim.start for claim in manifest.claims), UTC)
        high = datetime.fromtimestamp(max(claim.until for claim in manifest.claims), UTC)
        job = self._jobs.query(
            self._sql("claimed", staging=staging), [*whose, *_between(low, high)]
        )
        ((count, first, last),) = [row.values() for row in self._jobs.rows(job)]
        if not count:
            return 0, [*whose, *_between(low, low)]
        return count, [*whose, *_between(first, last + timedelta(microseconds=1))]

    def _note(self, batch: int, *, lower: bool = False) -> None:
        """Writes the batch's number on the table; a higher one stays, unless `lower`."""
        for _ in range(10):
            table = self._table("trades")
            if _last_batch(table) >= batch and not lower:
                return
            table.labels = {**table.labels, BATCHES_LABEL: str(batch)}
            with failing(f"cannot label table trades of {self.uri}", exceptions.PreconditionFailed):
                try:
                    self._client.update_table(table, ["labels"], **self._jobs.request)
                except exceptions.PreconditionFailed:
                    continue  # somebody else changed it meanwhile: look again
            return
        raise WarehouseError(
            f"table trades of {self.uri} is changed faster than it can be labelled"
        )

    def _drop(self, staging: bigquery.Table) -> None:
        with failing(f"cannot drop table {staging.table_id} of {self.uri}"):
            self._client.delete_table(staging, not_found_ok=True, **self._jobs.request)

    # -- statements -----------------------------------------------------------------------------

    def _rows(self, name: str) -> Iterable[bigquery.Row]:
        return self._jobs.rows(self._jobs.query(self._sql(name)))

    def _sql(self, name: str, staging: bigquery.Table | None = None, source: str = "") -> str:
        """A statement with names of tables and a column, which cannot be parameters, filled in."""
        package = resources.files("polycopy_assets.warehouse") / "sql" / "bigquery"
        return Template((package / f"{name}.sql").read_text()).substitute(
            trades=_quoted(self._name("trades")),
            traders=_quoted(self._name("traders")),
            checkpoint=_quoted(self._name("backfill_checkpoint")),
            staging=_quoted(staging.reference) if staging else "",
            source=source,
        )


def _quoted(table: bigquery.TableReference) -> str:
    """`project.dataset.table` for use between backticks; raises WarehouseError if it has one."""
    name = f"{table.project}.{table.dataset_id}.{table.table_id}"
    if "`" in name or "\\" in name:
        raise WarehouseError(f"not a table name: {name!r}")
    return name


def _schema(columns: Mapping[str, pl.DataType]) -> list[bigquery.SchemaField]:
    return [bigquery.SchemaField(name, _TYPES[type(kind)]) for name, kind in columns.items()]


def _kind(field: bigquery.SchemaField) -> str:
    return _LEGACY.get(field.field_type, field.field_type)


def _last_batch(table: bigquery.Table) -> int:
    text = (table.labels or {}).get(BATCHES_LABEL, "0")
    if not text.isdecimal():
        raise WarehouseError(f"label {BATCHES_LABEL}={text!r} of table trades is not a number")
    return int(text)


def _packed(claims: Mapping[str, int]) -> Parameter:
    """Until when each wallet's claims reach, as one text: 53 bytes a wallet.

    A request is 10 MB at most; as an array of structures it would hold a tenth of the wallets.
    """
    packed = ",".join(f"{wallet}{until:010d}" for wallet, until in claims.items())
    return ScalarQueryParameter("claims", "STRING", packed)


def _tick(row: Checkpoint) -> StructQueryParameter:
    """A row of `backfill_checkpoint` as a parameter."""
    return StructQueryParameter(
        None,
        *(
            ScalarQueryParameter(name, kind, getattr(row, name))
            for name, kind in _CHECKPOINT_TYPES.items()
        ),
    )


def _between(low: datetime, high: datetime) -> list[Parameter]:
    return [
        ScalarQueryParameter("low", "TIMESTAMP", low),
        ScalarQueryParameter("high", "TIMESTAMP", high),
    ]


def _months_back(*numbers: int) -> list[datetime]:
    """The first moments of the months that lie so many months back, this one being 1."""
    now = datetime.now(UTC)
    months = [now.year * 12 + now.month - number for number in numbers]
    return [datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months]
