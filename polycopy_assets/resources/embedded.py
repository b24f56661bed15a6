"""Dagster's view of source, store and warehouse: configuration that people can see."""

from pathlib import Path

import dagster as dg
from pydantic import Field, field_validator

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.working import Permit
from polycopy_assets.pipeline.ports import Limits, OpenSource
from polycopy_assets.record.store_id import checked
from polycopy_assets.settings import DEFAULT_LATE_HOURS, AdoptWord, SourceKind
from polycopy_assets.settings.memory import DEFAULT_MEMORY
from polycopy_assets.settings.parse import parse_rate_limit
from polycopy_assets.settings.shared import UMASKS, Shared
from polycopy_assets.sources.budget import Window
from polycopy_assets.store.base import Store
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.bounds import PATIENCE_SECONDS
from polycopy_assets.trades.cutter import SEGMENT_BYTES
from polycopy_assets.trades.horizon import DEFAULT_MAX_LAG
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.duckdb.file import LOCK_WAIT_SECONDS
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse


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
        """The store, unchecked: nothing is read or written yet.

        `patience`: seconds for which a request is retried, if not the usual time.
        """
        return LocalStore(Path(self.url).expanduser(), umask=UMASKS[self.shared])


class WarehouseResource(dg.ConfigurableResource):
    """Where the tables live."""

    url: str = Field(description="A DuckDB file.")
    shared: Shared = Field(default="no", description="Who may read new files: POLYCOPY_SHARED.")
    memory: int = Field(
        default=DEFAULT_MEMORY,
        description="MB that combining and loading may use: POLYCOPY_MEMORY.",
    )

    def open(
        self,
        asset: str,  # noqa: ARG002 - for those who pay by asset
        run_id: str = "command",  # noqa: ARG002 - the same
        *,
        patience: float = LOCK_WAIT_SECONDS,
    ) -> Warehouse:
        """The warehouse, for `asset` in run `run_id`, which label everything it does.

        `patience`: seconds to wait for a DuckDB file that another process holds. Nothing is
        connected yet.
        """
        return DuckDBWarehouse(
            Path(self.url).expanduser(),
            lock_wait=patience,
            umask=UMASKS[self.shared],
            memory=self.memory,
        )


class PolicyResource(dg.ConfigurableResource):
    """How far an older job's files are trusted, and when a wallet is late."""

    adopt: AdoptWord = Field(
        default="verified",
        description="What to do with an older job's files. `verified`: take over those whose "
        "evidence holds. `never`: do not read them. `refetch`: take them over, and then replace "
        "them from the source.",
    )
    late_hours: int = Field(
        default=DEFAULT_LATE_HOURS,
        ge=1,
        description="Hours after registration at which an incomplete wallet counts as late.",
    )


class SourceResource(dg.ConfigurableResource):
    """The trades API, with the request budget that all requests of a run share."""

    kind: SourceKind = Field(description="`polymarket` (Data API v2) or `dome` (Dome's contract).")
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
        description="Seconds by which the source's trade feed may lag; beyond, it counts as down.",
    )
    api_key: str = Field(default="", description="Needed for `dome` only.", repr=False)
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

    @property
    def limits(self) -> Limits:
        """How a fetch from this source works."""
        # In proportion: a longer time-out means a slower source.
        patience = max(PATIENCE_SECONDS, 20 * self.timeout)
        return Limits(self.concurrency, self.segment_bytes, patience)

    def opener(
        self, progress: Progress, permit: Permit, deadline: Deadline | None = None
    ) -> OpenSource:
        """A function that opens the source; call it on the event loop that uses it.

        No request is sent after the `deadline`.
        """
        # httpx: only a fetch needs it.
        from polycopy_assets.sources.open import open_source  # noqa: PLC0415

        def may_send() -> None:
            permit.check()
            if deadline is not None:
                deadline.check()

        return lambda: open_source(
            self.kind,
            self.url,
            windows=[Window(*each) for each in parse_rate_limit(self.rate_limit)],
            concurrency=self.concurrency,
            timeout=self.timeout,
            api_key=self.api_key,
            max_lag=self.max_lag,
            proxy=self.proxy,
            on_request=progress.request,
            idle=permit.idle,
            permit=may_send,
        )
