"""Dagster's view of source, store and warehouse: configuration that people can see."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dagster as dg
from pydantic import Field, field_validator

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.fetch.wallet import KnownSegments, Refetching
from polycopy_assets.fetch.wallets import Fetcher
from polycopy_assets.identity import checked, checked_table
from polycopy_assets.ledger.findings import Policy
from polycopy_assets.progress import Progress
from polycopy_assets.settings import (
    DEFAULT_LATE_HOURS,
    Kind,
    Settings,
    parse_bucket,
    parse_dataset,
    parse_rate_limit,
)
from polycopy_assets.sharing import UMASKS, Shared
from polycopy_assets.sources.open import open_source
from polycopy_assets.store.base import Store
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.bounds import PATIENCE_SECONDS
from polycopy_assets.trades.cutter import SEGMENT_BYTES
from polycopy_assets.trades.horizon import DEFAULT_MAX_LAG
from polycopy_assets.trades.page import PageSource
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.duckdb import LOCK_WAIT_SECONDS, DuckDBWarehouse


class StoreResource(dg.ConfigurableResource):
    """Where segments and combined files live."""

    url: str = Field(description="A directory.")

    shared: Shared = Field(default="no", description="Who may read new files: POLYCOPY_SHARED.")

    def open(self, instance: dg.DagsterInstance) -> Store:
        """The store, checked to be the one that `instance` works with; raises WrongStore."""
        return checked(instance, self.connect())

    def connect(
        self,
        *,
        patience: float | None = None,  # noqa: ARG002 - for a store that is reached over a network
    ) -> Store:
        """The store, whichever it is: nothing is read or written yet.

        `patience` is for how many seconds a request is retried, where it is not the usual time.
        """
        return LocalStore(Path(self.url).expanduser(), umask=UMASKS[self.shared])


class WarehouseResource(dg.ConfigurableResource):
    """Where the tables live."""

    url: str = Field(description="A DuckDB file.")
    shared: Shared = Field(default="no", description="Who may read new files: POLYCOPY_SHARED.")

    def open(
        self,
        asset: str,  # noqa: ARG002 - for those who pay by asset
        run_id: str = "command",  # noqa: ARG002 - the same
        *,
        patience: float = LOCK_WAIT_SECONDS,
    ) -> Warehouse:
        """The warehouse, for `asset` in run `run_id`, which are labels of all it does.

        `patience` is for how many seconds it waits for a DuckDB file that another process has.
        Nothing is connected yet.
        """
        return DuckDBWarehouse(
            Path(self.url).expanduser(), lock_wait=patience, umask=UMASKS[self.shared]
        )


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
    if parse_bucket(settings.store) is None:
        return StoreResource(url=settings.store, shared=settings.shared)
    from polycopy_assets import google_resources  # noqa: PLC0415 - Google's clients take a second

    return google_resources.store_resource(settings)


def warehouse_resource(settings: Settings) -> WarehouseResource:
    """The warehouse that is set."""
    if parse_dataset(settings.warehouse) is None:
        return WarehouseResource(url=settings.warehouse, shared=settings.shared)
    from polycopy_assets import google_resources  # noqa: PLC0415 - the same

    return google_resources.warehouse_resource(settings)


def open_store(settings: Settings, instance: dg.DagsterInstance, *, keep: bool = True) -> Store:
    """The store that is set, checked to be the one that `instance` works with.

    With `keep` False nothing is written, also where instance and store have not met yet.
    """
    return checked(instance, store_resource(settings).connect(), keep=keep)


def open_warehouse(settings: Settings, asset: str) -> Warehouse:
    """The warehouse that is set, opened by a command for `asset`."""
    return warehouse_resource(settings).open(asset)


def open_table(
    settings: Settings, instance: dg.DagsterInstance, store: Store, asset: str, *, keep: bool = True
) -> Warehouse:
    """The same, checked to hold the batches of `store`; raises WrongTable if it does not.

    With `keep` False nothing is written.
    """
    return checked_table(instance, store, open_warehouse(settings, asset), keep=keep)


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
    max_lag: int = Field(
        default=DEFAULT_MAX_LAG,
        ge=0,
        description="Seconds that the source's feed may trail before it counts as down.",
    )
    api_key: str = Field(default="", description="For `dome` only.", repr=False)
    proxy: str = Field(
        default="", description="The variable that names the proxy, if one is set.", repr=False
    )

    @field_validator("rate_limit")
    @classmethod
    def _accepted(cls, text: str) -> str:
        try:
            parse_rate_limit(text)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return text

    @asynccontextmanager
    async def open(
        self, progress: Progress, *, idle: float, may_go: Callable[[], bool]
    ) -> AsyncIterator[PageSource]:
        """The source itself; to be opened on the loop that uses it.

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
            max_lag=self.max_lag,
            proxy=self.proxy,
            on_request=progress.request,
            idle=idle,
            may_go=may_go,
        ) as source:
            yield source

    @asynccontextmanager
    async def fetcher(
        self,
        store: Store,
        known: KnownSegments,
        progress: Progress,
        *,
        idle: float,
        may_go: Callable[[], bool],
        refetching: Refetching,
    ) -> AsyncIterator[Fetcher]:
        """A fetcher from this source into `store`; see `Fetcher` and `open` for the rest."""
        async with self.open(progress, idle=idle, may_go=may_go) as source:
            yield Fetcher(
                source,
                store,
                concurrency=self.concurrency,
                known=known,
                progress=progress,
                segment_bytes=self.segment_bytes,
                # In proportion: whoever sets a longer time-out has a slower source.
                patience=max(PATIENCE_SECONDS, 20 * self.timeout),
                refetching=refetching,
            )
