"""Loading into BigQuery: a batch into a staging table, and from there into that of its feed.

One load job and one transaction; both have ids derived from the batch, so that the run after a
killed one finds its jobs.
"""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from google.cloud import bigquery

from polycopy_assets.errors import BatchBroken, WarehouseError, WrongTable
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.warehouse.bigquery.batches_table import BatchesTable
from polycopy_assets.warehouse.bigquery.change import Batch, Change, refuse_others
from polycopy_assets.warehouse.bigquery.feed_dataset import FeedDataset
from polycopy_assets.warehouse.bigquery.job_calls import ATTEMPTS
from polycopy_assets.warehouse.feed_table import Loaded, Parts

STAGING = "polycopy_staging_"
STAGING_LASTS = timedelta(days=3)

_URIS = 10_000

# BigQuery cancels one of two transactions that change a table at the same time.
_changing: dict[str, threading.Lock] = defaultdict(threading.Lock)


class Loader(Protocol):
    """Fills a staging table other than by a load job; see `warehouse.bigquery.transfer`."""

    def fill(self, table: bigquery.Table, folder: str, uris: Sequence[str]) -> None:
        """Makes `table` hold exactly the Parquet files `uris`, which are all of `folder`."""
        ...


class BatchLoad:
    """Loads batches into the table of a feed; `loader` None means load jobs."""

    def __init__(
        self, of_feed: FeedDataset, noted: BatchesTable, loader: Loader | None = None
    ) -> None:
        self._of = of_feed
        self._dataset = of_feed.dataset
        self._noted = noted
        self._loader = loader

    def load(self, batch: Batch, parts: Parts) -> Loaded:
        """Stages the batch, replaces what it claims with its rows, and notes it.

        Also notes the id of its store; raises WrongTable if another store is noted.
        """
        manifest = batch.manifest
        if manifest.claims_part is None:
            raise WarehouseError(
                f"batch {manifest.batch} was combined for DuckDB alone: it has no file of claims"
            )
        table = self._of.table()
        self._noted.make(table)
        refuse_others(self._of, self._noted.read(None), batch.store)
        name, part = self._batch_name(manifest), self._of.feed.frame().part
        for _ in range(ATTEMPTS):
            staging = self._dataset.passing_table(
                f"{STAGING}{name}", part, STAGING_LASTS, like=table
            )
            try:
                self._fill(manifest, parts, name, staging)
                change = Change(self._of, self._noted, batch, staging)
                with _changing[f"{self._dataset.uri}/{self._of.feed.table}"]:
                    loaded = change.run(f"polycopy_merge_{name}")
            except (BatchBroken, WrongTable):
                self._dataset.drop(staging)
                raise
            except WarehouseError:
                if self._dataset.row_count(staging) is not None:
                    raise
                continue  # another process loaded the same batch faster, and has dropped it
            self._dataset.drop(staging)
            return loaded
        raise WarehouseError(
            f"something else keeps dropping the staging table of batch {manifest.batch} in"
            f" {self._dataset.uri}"
        )

    def _batch_name(self, manifest: Manifest) -> str:
        """A permanent name for a batch and the table it goes to: its number and a digest.

        The manifest names its files, which lie in folders of the feed alone.
        """
        what = f"{self._dataset.uri} {manifest.batch} ".encode() + manifest.encode()
        return f"{manifest.batch:08d}_{hashlib.sha256(what).hexdigest()[:16]}"

    def _fill(self, manifest: Manifest, parts: Parts, name: str, staging: bigquery.Table) -> None:
        """Makes the staging table hold exactly the batch's rows and claims."""
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
        if staged is not None and staged != expected:
            # Metadata may lag, and a batch that is not broken must not be set aside.
            staged = self._dataset.count_rows(staging)
        if staged != expected:
            rows = counted(expected, "row")
            why = f"{rows} by its manifest, but {staged or 0:,} were staged from its parts"
            if self._loader is None:
                raise BatchBroken(manifest.batch, why)
            # The files match the manifest, so the transfer delivered wrong rows.
            raise WarehouseError(f"batch {manifest.batch} has {why}; nothing was loaded")
