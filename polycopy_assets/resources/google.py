"""Dagster's view of store and warehouse on Google Cloud. Imported only if they are configured."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster_gcp import BigQueryResource, GCSResource
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from pydantic import Field

from polycopy_assets.errors import ConfigurationError, StoreError, WarehouseError
from polycopy_assets.feeds.known import named
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource
from polycopy_assets.settings import DEFAULT_MAX_BYTES_BILLED, LoadVia, Settings
from polycopy_assets.settings.parse import parse_bucket, parse_dataset
from polycopy_assets.store.base import Store
from polycopy_assets.store.gcs import RETRY_SECONDS, GCSStore
from polycopy_assets.text import quoted, said_by
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.load import Loader
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets.warehouse.duckdb.file import LOCK_WAIT_SECONDS


class BucketResource(StoreResource):
    """Where segments and combined files live: a bucket of Cloud Storage."""

    url: str = Field(description="`gs://BUCKET[/PREFIX]`.")
    gcs: GCSResource

    def connect(self, *, patience: float | None = None) -> Store:
        """The store; nothing is read or written yet. Raises StoreError without credentials."""
        bucket = parse_bucket(self.url)
        if bucket is None:
            raise ConfigurationError(
                f"not a bucket: {quoted(self.url)} (expected gs://BUCKET[/PREFIX])"
            )
        try:
            seconds = RETRY_SECONDS if patience is None else patience
            return GCSStore(self.gcs.get_client(), *bucket, retry_seconds=seconds)
        except GoogleAuthError as error:
            raise StoreError(f"cannot use {self.url}: {said_by(error)}") from error


class EmulatedBigQueryResource(BigQueryResource):
    """BigQuery's stand-in, which takes no credentials."""

    emulator: str = Field(description="Its address, `http://HOST:PORT`.")

    @contextmanager
    def get_client(self) -> Iterator[bigquery.Client]:
        """A client that talks to the stand-in alone."""
        yield bigquery.Client(
            project=self.project,
            location=self.location,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.emulator},
        )


class DatasetResource(WarehouseResource):
    """Where the tables live: a dataset of BigQuery."""

    url: str = Field(description="`bigquery://PROJECT/DATASET`.")
    bigquery: BigQueryResource
    max_bytes_billed: int = Field(
        default=DEFAULT_MAX_BYTES_BILLED, description="Cap on the bytes that a query may bill."
    )
    load_via: LoadVia = Field(default="job", description="`job`, or `dts`: Data Transfer Service.")
    dts_config: str = Field(default="", description="The transfer config; for `dts` only.")

    def open(
        self,
        asset: str,
        run_id: str = "command",
        *,
        patience: float = LOCK_WAIT_SECONDS,  # noqa: ARG002 - a dataset is never locked
    ) -> Warehouse:
        """The warehouse; nothing is connected yet. Raises WarehouseError without credentials."""
        dataset = parse_dataset(self.url)
        if dataset is None:
            raise ConfigurationError(
                f"not a dataset: {quoted(self.url)} (expected bigquery://PROJECT/DATASET)"
            )
        try:
            with self.bigquery.get_client() as client:
                tables = Dataset(
                    client,
                    *dataset,
                    max_bytes_billed=self.max_bytes_billed,
                    labels={"polycopy_asset": asset, "polycopy_run": run_id},
                )
                loader = self._transfer() if self.load_via == "dts" else None
                return BigQueryWarehouse(tables, feeds=named(self.feeds), loader=loader)
        except GoogleAuthError as error:
            raise WarehouseError(f"cannot use {self.url}: {said_by(error)}") from error

    def _transfer(self) -> Loader:
        # Nobody else needs its client.
        from google.cloud.bigquery_datatransfer_v1 import DataTransferServiceClient  # noqa: PLC0415

        from polycopy_assets.warehouse.bigquery.transfer import Transfer  # noqa: PLC0415

        return Transfer(DataTransferServiceClient(), self.dts_config)


def store_resource(settings: Settings) -> BucketResource:
    """The configured bucket."""
    return BucketResource(url=settings.store, gcs=GCSResource())


def warehouse_resource(settings: Settings) -> DatasetResource:
    """The configured dataset, or its stand-in."""
    project = (parse_dataset(settings.warehouse) or (None,))[0]
    if settings.bigquery_emulator:
        client = EmulatedBigQueryResource(project=project, emulator=settings.bigquery_emulator)
    else:
        client = BigQueryResource(project=project)
    return DatasetResource(
        url=settings.warehouse,
        memory=settings.memory,
        feeds=list(settings.feeds),
        bigquery=client,
        max_bytes_billed=settings.max_bytes_billed,
        load_via=settings.load_via,
        dts_config=settings.dts_config,
    )
