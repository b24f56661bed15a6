"""Loading into BigQuery: a batch into a staging table of its own, and from there into `trades`.

One load job and one MERGE; both have ids derived from the batch, so that the run after a killed one
finds its jobs. A label of `trades` has the number of the last batch, so that the table itself says
what is loaded, and reading that costs nothing.
"""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from google.cloud import bigquery
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

from polycopy_assets.errors import BatchBroken, WarehouseError, WrongTable
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.trades.batch_rules import LAST_BATCH
from polycopy_assets.trades.frame import PART_SCHEMA
from polycopy_assets.warehouse.base import Held, Loaded, Parts
from polycopy_assets.warehouse.bigquery.dataset import Dataset, quoted
from polycopy_assets.warehouse.bigquery.job_calls import ATTEMPTS, Parameter

BATCHES_LABEL = "polycopy_batches"
EMPTY_LABEL = "polycopy_empty"
"""The batch that left the table empty, so that it does not look as if something else emptied it."""

STORE_LABEL = "polycopy_store"
"""The id of the store that the batches come from."""

STAGING = "polycopy_staging_"
STAGING_LASTS = timedelta(days=3)

MERGES_AT_ONCE = 2
_FEW_WALLETS = 1_000
_URIS = 10_000

_merging: dict[str, threading.BoundedSemaphore] = defaultdict(
    lambda: threading.BoundedSemaphore(MERGES_AT_ONCE)
)


class Loader(Protocol):
    """Fills a staging table other than by a load job; see `warehouse.bigquery.transfer`."""

    def fill(self, table: bigquery.Table, folder: str, uris: Sequence[str]) -> None:
        """Makes `table` hold exactly the Parquet files `uris`, which are all of `folder`."""
        ...


class BatchLoad:
    """Loads batches into `trades` of a dataset; `loader` None means load jobs."""

    def __init__(self, dataset: Dataset, loader: Loader | None = None) -> None:
        self._dataset = dataset
        self._loader = loader

    def load(self, manifest: Manifest, parts: Parts, of: str | None) -> Loaded:
        """Stages the batch, replaces what it claims with its rows, and notes it on the table.

        Also notes the id of its store, `of`; raises WrongTable if the table has another.
        """
        if manifest.claims_part is None:
            raise WarehouseError(
                f"batch {manifest.batch} was combined for DuckDB alone: it has no file of claims"
            )
        table = self._dataset.table("trades")
        self._refuse_others(table, of)
        if last_batch(table) >= manifest.batch:
            # Its rows overwrite those of later batches, which must then be loaded again.
            self._change(lambda _: {BATCHES_LABEL: str(manifest.batch - 1)})
        name = self._batch_name(manifest)
        for _ in range(ATTEMPTS):
            staging = self._dataset.passing_table(f"{STAGING}{name}", PART_SCHEMA, STAGING_LASTS)
            try:
                self._fill(manifest, parts, name, staging)
                with _merging[f"{self._dataset.uri}/trades"]:
                    loaded = self._merge(manifest, name, staging)
            except BatchBroken:
                self._dataset.drop(staging)
                raise
            except WarehouseError:
                if self._dataset.row_count(staging) is not None:
                    raise
                continue  # another process loaded the same batch faster, and has dropped it
            self._note(manifest, of)
            self._dataset.drop(staging)
            return loaded
        raise WarehouseError(
            f"something else keeps dropping the staging table of batch {manifest.batch} in"
            f" {self._dataset.uri}"
        )

    def _batch_name(self, manifest: Manifest) -> str:
        """A permanent name for a batch and the table it goes to: its number and a digest."""
        what = f"{self._dataset.uri} {manifest.batch} ".encode() + manifest.encode()
        return f"{manifest.batch:08d}_{hashlib.sha256(what).hexdigest()[:16]}"

    def _fill(self, manifest: Manifest, parts: Parts, name: str, staging: bigquery.Table) -> None:
        """Makes the staging table hold exactly the batch's trades and claims."""
        if len(manifest.files) > _URIS:
            raise WarehouseError(f"batch {manifest.batch} has more files than a load job takes")
        expected = sum(part.rows for part in manifest.files)
        uris = [parts.uri(part.name) for part in manifest.files]
        if self._dataset.row_count(staging) != expected:
            if self._loader is not None:
                self._loader.fill(staging, uris[0].rsplit("/", 1)[0], uris)
            else:
                jobs = self._dataset.jobs
                jobs.run(
                    bigquery.LoadJob,
                    f"polycopy_load_{name}",
                    lambda job_id, labels: jobs.begin_load(uris, staging, job_id, labels),
                    accept=lambda _: self._dataset.row_count(staging) == expected,
                )
        staged = self._dataset.row_count(staging)
        if staged != expected:
            why = f"{expected} rows by its manifest, but {staged or 0} were staged from its parts"
            if self._loader is None:
                raise BatchBroken(manifest.batch, why)
            # The files match the manifest, so the transfer delivered wrong rows.
            raise WarehouseError(f"batch {manifest.batch} has {why}; nothing was loaded")

    def _merge(self, manifest: Manifest, name: str, staging: bigquery.Table) -> Loaded:
        claimed = 0

        def begin(job_id: str, labels: Mapping[str, str]) -> bigquery.QueryJob:
            # The rows to delete are counted again for each attempt, after the previous one ended.
            nonlocal claimed
            claimed, parameters = self._claimed(manifest, staging)
            return self._dataset.jobs.begin_query(
                self._dataset.sql("merge", staging=quoted(staging.reference)),
                parameters,
                job_id,
                labels,
            )

        # Since an earlier MERGE, a later batch may have been merged; running it again is safe.
        job = self._dataset.jobs.run(
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
        """How many rows the MERGE has to delete, and its parameters, which limit its partitions.

        Raises BatchBroken if staged rows lie outside all claims.

        A MERGE that may delete is billed for all columns of all partitions that it may delete from;
        this query is billed for two columns, and usually finds nothing to delete.
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
        rows = self._dataset.rows(
            "claimed", [*whose, *_between(low, high)], staging=quoted(staging.reference)
        )
        ((count, first, last, unclaimed),) = [row.values() for row in rows]
        if unclaimed:
            why = f"{unclaimed} rows of its parts lie outside of its claims"
            raise BatchBroken(manifest.batch, why)
        if not count:
            return 0, [*whose, *_between(low, low)]
        return count, [*whose, *_between(first, last + timedelta(microseconds=1))]

    def take_over(self, store: str) -> None:
        """Labels the table with the id of the store, even if it has another one."""
        self._change(lambda _: {STORE_LABEL: store})

    def forget(self) -> None:
        """Removes our labels from the table."""
        self._change(lambda _: dict.fromkeys((BATCHES_LABEL, STORE_LABEL, EMPTY_LABEL)))

    def _note(self, manifest: Manifest, of: str | None) -> None:
        """Labels the table with the batch's number and store; a higher number is kept."""
        number = str(manifest.batch)

        def noted(table: bigquery.Table) -> dict[str, str | None]:
            self._refuse_others(table, of)
            if last_batch(table) >= manifest.batch:
                return {}
            empty = not manifest.rows and not table.num_rows
            return {
                BATCHES_LABEL: number,
                **({STORE_LABEL: of} if of else {}),
                **({EMPTY_LABEL: number} if empty else {}),
            }

        self._change(noted)

    def _refuse_others(self, table: bigquery.Table, of: str | None) -> None:
        found = table.labels.get(STORE_LABEL)
        if of and found and found != of:
            raise WrongTable(self._dataset.uri, found, of)

    def _change(self, labels: Callable[[bigquery.Table], Mapping[str, str | None]]) -> None:
        """Sets the labels that the table should have, given its current state."""
        for _ in range(10):
            table = self._dataset.table("trades")
            wanted = labels(table)
            if not wanted or self._dataset.label(table, wanted):
                return
        raise WarehouseError(
            f"something else keeps changing table trades of {self._dataset.uri}: it cannot be"
            " labelled"
        )


def held(table: bigquery.Table) -> Held:
    """The batches that `trades` holds, and the store they come from, by its labels."""
    batches = range(1, last_batch(table) + 1)
    return Held(dict.fromkeys(batches), (table.labels or {}).get(STORE_LABEL))


def may_be_empty(table: bigquery.Table) -> bool:
    """Whether the last batch that `trades` holds has left it empty."""
    return (table.labels or {}).get(EMPTY_LABEL) == str(last_batch(table))


def last_batch(table: bigquery.Table) -> int:
    """The number of the last batch that `trades` holds, by its label; 0 if none.

    Also 0 for a number that no batch can have: then all batches are loaded again.
    """
    text = (table.labels or {}).get(BATCHES_LABEL, "0")
    if not text.isdecimal():
        raise WarehouseError(f"label {BATCHES_LABEL}={text!r} of table trades is not a number")
    return number if (number := int(text)) <= LAST_BATCH else 0


def _between(low: datetime, high: datetime) -> list[Parameter]:
    return [
        ScalarQueryParameter("low", "TIMESTAMP", low),
        ScalarQueryParameter("high", "TIMESTAMP", high),
    ]
