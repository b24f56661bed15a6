"""Dagster's view of source, store and warehouse: configuration that people can see."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import dagster as dg
from dagster_gcp import BigQueryResource, GCSResource
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery_datatransfer_v1 import DataTransferServiceClient
from pydantic import Field, field_validator

from polycopy_assets.errors import ConfigurationError, StoreError, WarehouseError
from polycopy_assets.fetch.wallet import KnownSegments
from polycopy_assets.fetch.wallets import Fetcher
from polycopy_assets.ledger.findings import Policy
from polycopy_assets.progress import Progress
from polycopy_assets.settings import (
    DEFAULT_LATE_HOURS,
    DEFAULT_MAX_BYTES_BILLED,
    Kind,
    LoadVia,
    Settings,
    parse_bucket,
    parse_dataset,
    parse_rate_limit,
)
from polycopy_assets.sources.open import open_source
from polycopy_assets.store.base import Store
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.cutter import SEGMENT_BYTES
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.bigquery import BigQueryWarehouse
from polycopy_assets.warehouse.bigquery_dataset import Dataset
from polycopy_assets.warehouse.dts import Transfer
from polycopy_assets.warehouse.duckdb import LOCK_WAIT_SECONDS, DuckDBWarehouse


class StoreResource(dg.ConfigurableResource):
    """Where segments and combined files live."""

    url: str = Field(description="A directory, or `gs://BUCKET[/PREFIX]`.")
    gcs: GCSResource

    def open(self) -> Store:
        """The store; nothing is read or written yet. Raises StoreError without credentials."""
        bucket = parse_bucket(self.url)
        if bucket is None:
            return LocalStore(Path(self.url).expanduser())
        try:
            return GCSStore(self.gcs.get_client(), *bucket)
        except GoogleAuthError as error:
            raise StoreError(f"cannot use {self.url}: {_one_line(error)}") from error


class EmulatedBigQueryResource(BigQueryResource):
    """BigQuery's stand-in, which takes no credentials."""

    emulator: str = Field(description="Its address, `http://HOST:PORT`.")

    @contextmanager
    def get_client(self) -> Iterator[bigquery.Client]:
        """A client that talks to the stand-in and to nobody else."""
        yield bigquery.Client(
            project=self.project,
            location=self.location,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.emulator},
        )


class WarehouseResource(dg.ConfigurableResource):
    """Where the tables live."""

    url: str = Field(description="A DuckDB file, or `bigquery://PROJECT/DATASET`.")
    bigquery: BigQueryResource
    max_bytes_billed: int = Field(
        default=DEFAULT_MAX_BYTES_BILLED, description="Cap on the bytes that a query may bill."
    )
    load_via: LoadVia = Field(default="job", description="`job`, or `dts`: Data Transfer Service.")
    dts_config: str = Field(default="", description="The transfer config; for `dts` only.")

    def open(
        self, asset: str, run_id: str = "command", *, patience: float = LOCK_WAIT_SECONDS
    ) -> Warehouse:
        """The warehouse, for `asset` in run `run_id`, which are labels of all it does.

        `patience` is for how many seconds it waits for a DuckDB file that another process has.
        Nothing is connected yet. Raises WarehouseError without credentials.
        """
        dataset = parse_dataset(self.url)
        if dataset is None:
            return DuckDBWarehouse(Path(self.url).expanduser(), lock_wait=patience)
        try:
            with self.bigquery.get_client() as client:
                tables = Dataset(
                    client,
                    *dataset,
                    max_bytes_billed=self.max_bytes_billed,
                    labels={"polycopy_asset": asset, "polycopy_run": run_id},
                )
                by_dts = self.load_via == "dts"
                return BigQueryWarehouse(tables, loader=self._transfer() if by_dts else None)
        except GoogleAuthError as error:
            raise WarehouseError(f"cannot use {self.url}: {_one_line(error)}") from error

    def _transfer(self) -> Transfer:
        return Transfer(DataTransferServiceClient(), self.dts_config)


class PolicyResource(dg.ConfigurableResource):
    """What is believed of an older job, and what is late."""

    adopt: Policy = Field(
        default="verified",
        description="An older job's files: `verified`: those that are borne out are taken over. "
        "`never`. `refetch`: taken over until they are fetched from the source.",
    )
    late_hours: int = Field(
        default=DEFAULT_LATE_HOURS,
        ge=1,
        description="Hours after which a wallet that has no trades yet is late.",
    )


def store_resource(settings: Settings) -> StoreResource:
    """The store that is set."""
    return StoreResource(url=settings.store, gcs=GCSResource())


def warehouse_resource(settings: Settings) -> WarehouseResource:
    """The warehouse that is set."""
    project = (parse_dataset(settings.warehouse) or (None,))[0]
    if settings.bigquery_emulator:
        client = EmulatedBigQueryResource(project=project, emulator=settings.bigquery_emulator)
    else:
        client = BigQueryResource(project=project)
    return WarehouseResource(
        url=settings.warehouse,
        bigquery=client,
        max_bytes_billed=settings.max_bytes_billed,
        load_via=settings.load_via,
        dts_config=settings.dts_config,
    )


def open_store(settings: Settings) -> Store:
    """The store that is set, opened."""
    return store_resource(settings).open()


def open_warehouse(settings: Settings, asset: str) -> Warehouse:
    """The warehouse that is set, opened by a command for `asset`."""
    return warehouse_resource(settings).open(asset)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class SourceResource(dg.ConfigurableResource):
    """The trades API, with the request budget that all requests of a run share."""

    kind: Kind = Field(description="`polymarket` (Data API v2) or `dome` (Dome's contract).")
    url: str = Field(description="Base URL, without a trailing slash.")
    rate_limit: str = Field(description="REQUESTS/SECONDS windows, e.g. `100/1,500/10`.")
    concurrency: int = Field(ge=1, le=1000, description="Requests in flight.")
    timeout: float = Field(
        default=30.0, gt=0, le=600, description="Seconds of silence before a retry."
    )
    segment_bytes: int = Field(
        default=SEGMENT_BYTES,
        ge=1,
        le=SEGMENT_BYTES,
        description="Compressed bytes after which a segment is cut.",
    )
    api_key: str = Field(default="", description="For `dome` only.", repr=False)

    @field_validator("rate_limit")
    @classmethod
    def _accepted(cls, text: str) -> str:
        try:
            parse_rate_limit(text)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return text

    @asynccontextmanager
    async def fetcher(
        self,
        store: Store,
        known: KnownSegments,
        progress: Progress,
        *,
        idle: float,
        may_go: Callable[[], bool],
    ) -> AsyncIterator[Fetcher]:
        """A fetcher from this source into `store`; to be opened on the loop that uses it.

        `idle` tells for how many seconds no other run has asked the source, `may_go` whether it is
        still this run's turn: while it says no, nothing is asked.
        """
        async with open_source(
            self.kind,
            self.url,
            windows=parse_rate_limit(self.rate_limit),
            concurrency=self.concurrency,
            timeout=self.timeout,
            api_key=self.api_key,
            on_request=progress.request,
            idle=idle,
            may_go=may_go,
        ) as source:
            yield Fetcher(
                source,
                store,
                concurrency=self.concurrency,
                known=known,
                progress=progress,
                segment_bytes=self.segment_bytes,
            )
