"""Dagster's view of source, store and warehouse: configuration that people can see."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, PrivateAttr, field_validator

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import named
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.working import Permit
from polycopy_assets.pipeline.discover import OpenBoards
from polycopy_assets.pipeline.ports import Limits, OpenDimensions, OpenSource
from polycopy_assets.record.store_id import checked, checked_table
from polycopy_assets.settings import DEFAULT_LATE_HOURS, AdoptWord, SourceKind
from polycopy_assets.settings.boards import DEFAULT_LEADERBOARD, MOST
from polycopy_assets.settings.memory import DEFAULT_MEMORY
from polycopy_assets.settings.parse import (
    DEFAULT_ROUTE_LIMITS,
    parse_rate_limit,
    parse_route_limits,
)
from polycopy_assets.settings.shared import PRIVATE
from polycopy_assets.sources.budget import Window
from polycopy_assets.store.base import Store
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.left_out import settle
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.bounds import PATIENCE_SECONDS
from polycopy_assets.trades.cutter import SEGMENT_BYTES
from polycopy_assets.trades.horizon import DEFAULT_MAX_LAG
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.duckdb.file import LOCK_WAIT_SECONDS
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

if TYPE_CHECKING:
    from polycopy_assets.sources.hosts import Sending


_UMASK = "The umask of new files, from POLYCOPY_SHARED. (Its word `no` would be false in YAML.)"


class StoreResource(dg.ConfigurableResource):
    """Where segments and combined files live."""

    url: str = Field(description="A directory.")

    umask: int = Field(default=PRIVATE, description=_UMASK)

    def open(self, instance: dg.DagsterInstance, feed: Feed = TRADES) -> FeedStore:
        """The store as `feed` sees it, checked to be the one that `instance` works with.

        Raises WrongStore.
        """
        return FeedStore(checked(instance, self.connect()), feed)

    def connect(
        self,
        *,
        patience: float | None = None,  # noqa: ARG002 - for a store that is reached over a network
    ) -> Store:
        """The store, unchecked: nothing is read or written yet.

        `patience`: seconds for which a request is retried, if not the usual time.
        """
        return LocalStore(Path(self.url).expanduser(), umask=self.umask)


class WarehouseResource(dg.ConfigurableResource):
    """Where the tables live."""

    url: str = Field(description="A DuckDB file.")
    umask: int = Field(default=PRIVATE, description=_UMASK)
    memory: int = Field(
        default=DEFAULT_MEMORY,
        description="MB that combining and loading may use: POLYCOPY_MEMORY.",
    )
    feeds: list[str] = Field(
        default=[TRADES.name],
        description="The feeds whose tables are made and checked: POLYCOPY_FEEDS.",
    )
    _fits: bool = PrivateAttr(default=False)

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
            feeds=named(self.feeds),
            lock_wait=patience,
            umask=self.umask,
            memory=self.memory,
        )

    def open_for(
        self,
        instance: dg.DagsterInstance,
        store: FeedStore,
        asset: str,
        run_id: str = "command",
        *,
        keep: bool = True,
    ) -> Warehouse:
        """The warehouse, checked to fit `store`, and to hold its batches.

        Raises Unsuitable or WrongTable. With `keep` False nothing is written.
        """
        self.check_fits(store, asset, run_id)
        warehouse = self.open(asset, run_id)
        checked_table(instance, store, warehouse.table(store.feed), keep=keep)
        return warehouse

    def check_fits(self, store: Store, asset: str, run_id: str = "command") -> None:
        """Raises Unsuitable if the tables cannot hold or show all rows of `store`.

        Looks once in a run: Dagster makes one resource for all steps of a run.
        """
        if not self._fits:
            self.open(asset, run_id).check_fits(store.place())
            self._fits = True


class PolicyResource(dg.ConfigurableResource):
    """How far an older job's files are trusted, when a wallet is late, and who is wanted."""

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
    leaderboard: str = Field(
        default=DEFAULT_LEADERBOARD,
        description="The boards that are kept: POLYCOPY_LEADERBOARD.",
    )
    leaderboard_wanted: int = Field(
        default=0,
        ge=0,
        le=MOST,
        description="The last rank on them that is wanted: POLYCOPY_LEADERBOARD_WANTED.",
    )


class SourceResource(dg.ConfigurableResource):
    """The trades API, with the request budget that all requests of a run share."""

    kind: SourceKind = Field(description="`polymarket` (Data API v2) or `dome` (Dome's contract).")
    url: str = Field(description="Base URL, without a trailing slash.")
    rate_limit: str = Field(description="REQUESTS/SECONDS windows, e.g. `100/1,500/10`.")
    route_limits: str = Field(
        default=DEFAULT_ROUTE_LIMITS,
        description="Windows of single routes: `/PATH=REQUESTS/SECONDS[,…][;…]`.",
    )
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
        description="Seconds by which a feed of the source may lag; beyond, it counts as down.",
    )
    api_key: str = Field(default="", description="Needed for `dome` only.", repr=False)
    markets_url: str = Field(
        default="", description="Base URL of the market service, which looks up a market's slug."
    )
    left_out: dict[str, list[str]] = Field(
        default={},
        description="Types of rows that are not fetched, by feed: POLYCOPY_ACTIVITY_WITHOUT.",
    )
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

    @field_validator("route_limits")
    @classmethod
    def _accepted_routes(cls, text: str) -> str:
        try:
            parse_route_limits(text)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return text

    @property
    def limits(self) -> Limits:
        """How a fetch from this source works."""
        # In proportion: a longer time-out means a slower source.
        patience = max(PATIENCE_SECONDS, 20 * self.timeout)
        return Limits(self.concurrency, self.segment_bytes, patience)

    def check_writable(self, store: FeedStore) -> None:
        """Raises StoreError if `store` cannot be written, ConfigurationError if it must not be.

        It must not if its rows leave out other types than this source is to.
        """
        store.check_writable()
        settle(store, self.left_out.get(store.feed.name, ()))

    def opener(
        self,
        progress: Progress,
        permit: Permit,
        deadline: Deadline | None = None,
        feed: Feed = TRADES,
    ) -> OpenSource:
        """A function that opens the source for `feed`; call it on the event loop that uses it.

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
            feed,
            windows=[Window(*each) for each in parse_rate_limit(self.rate_limit)],
            routes=self._routes(),
            left_out=self.left_out.get(feed.name, ()),
            concurrency=self.concurrency,
            timeout=self.timeout,
            api_key=self.api_key,
            max_lag=self.max_lag,
            proxy=self.proxy,
            on_request=progress.request,
            idle=permit.idle,
            permit=may_send,
        )

    def dimensions(self, progress: Progress, permit: Permit) -> OpenDimensions:
        """A function that opens what the source says of conditions; call it on the event loop.

        Raises ConfigurationError if the source says nothing of them.
        """
        from polycopy_assets.sources.boards import check_has_boards  # noqa: PLC0415
        from polycopy_assets.sources.dimensions import open_dimensions  # noqa: PLC0415

        check_has_boards(self.kind, "list of markets")
        how = self._sending(progress, permit)
        return lambda: open_dimensions(self.url, self.markets_url or self.url, how)

    def boards(self, progress: Progress, permit: Permit) -> OpenBoards:
        """A function that opens the source's boards; call it on the event loop that uses it.

        Raises ConfigurationError if the source has none.
        """
        from polycopy_assets.sources.boards import check_has_boards, open_boards  # noqa: PLC0415

        check_has_boards(self.kind)
        how = self._sending(progress, permit)
        return lambda: open_boards(self.url, self.markets_url or self.url, how)

    def _routes(self) -> dict[str, list[Window]]:
        """The windows of single routes."""
        limits = parse_route_limits(self.route_limits)
        return {path: [Window(*each) for each in windows] for path, windows in limits.items()}

    def _sending(self, progress: Progress, permit: Permit) -> "Sending":
        """How requests to the source's hosts are sent."""
        from polycopy_assets.sources.hosts import Sending  # noqa: PLC0415

        return Sending(
            windows=[Window(*each) for each in parse_rate_limit(self.rate_limit)],
            routes=self._routes(),
            concurrency=self.concurrency,
            timeout=self.timeout,
            proxy=self.proxy,
            idle=permit.idle,
            permit=permit.check,
            on_request=progress.request,
        )
