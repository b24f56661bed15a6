"""Dagster's view of source, store and warehouse: configuration that people can see."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dagster as dg
from pydantic import Field

from polycopy_assets.fetch.wallet import KnownSegments
from polycopy_assets.fetch.wallets import Fetcher
from polycopy_assets.progress import Progress
from polycopy_assets.settings import parse_rate_limit
from polycopy_assets.sources.open import open_source
from polycopy_assets.store.base import Store
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.cutter import SEGMENT_BYTES
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.duckdb import DuckDBWarehouse


class StoreResource(dg.ConfigurableResource):
    """Where segments and combined files live."""

    url: str = Field(description="A directory.")

    def open(self) -> Store:
        """The store; nothing is read or written yet."""
        return LocalStore(Path(self.url).expanduser())


class WarehouseResource(dg.ConfigurableResource):
    """Where the tables live."""

    url: str = Field(description="A DuckDB file.")

    def open(self) -> Warehouse:
        """The warehouse; nothing is connected yet."""
        return DuckDBWarehouse(Path(self.url).expanduser())


class SourceResource(dg.ConfigurableResource):
    """The trades API, with the request budget that all requests of a run share."""

    kind: str = Field(description="`polymarket` (Data API v2) or `dome` (Dome's contract).")
    url: str = Field(description="Base URL, without a trailing slash.")
    rate_limit: str = Field(description="REQUESTS/SECONDS windows, e.g. `100/1,500/10`.")
    concurrency: int = Field(description="Requests in flight.")
    timeout: float = Field(default=30.0, description="Seconds of silence before a retry.")
    segment_bytes: int = Field(
        default=SEGMENT_BYTES, description="Compressed bytes after which a segment is cut."
    )
    api_key: str = Field(default="", description="For `dome` only.", repr=False)

    @asynccontextmanager
    async def fetcher(
        self, store: Store, known: KnownSegments, progress: Progress
    ) -> AsyncIterator[Fetcher]:
        """A fetcher from this source into `store`; to be opened on the loop that uses it."""
        async with open_source(
            self.kind,
            self.url,
            windows=parse_rate_limit(self.rate_limit),
            concurrency=self.concurrency,
            timeout=self.timeout,
            api_key=self.api_key,
            on_request=progress.request,
        ) as source:
            yield Fetcher(
                source,
                store,
                concurrency=self.concurrency,
                known=known,
                progress=progress,
                segment_bytes=self.segment_bytes,
            )
