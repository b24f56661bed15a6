"""Source, store and warehouse in the settings, for Dagster and for commands."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.record.store_id import checked, checked_table
from polycopy_assets.resources.embedded import SourceResource, StoreResource, WarehouseResource
from polycopy_assets.settings import Settings
from polycopy_assets.settings.checked import API_KEY
from polycopy_assets.settings.parse import parse_bucket, parse_dataset
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import quoted
from polycopy_assets.warehouse.base import Warehouse

EXTRA = "pip install 'polycopy-assets[google]'"
_OF_GOOGLE = frozenset({"dagster_gcp", "google", "requests"})


def source_resource(settings: Settings) -> SourceResource:
    """The configured source; its secrets are read from the environment when a run begins."""
    return SourceResource(
        kind=settings.source,
        url=settings.source_url,
        rate_limit=settings.rate_limit,
        route_limits=settings.route_limits,
        concurrency=settings.concurrency,
        timeout=settings.timeout,
        segment_bytes=settings.segment_bytes,
        max_lag=settings.max_lag,
        api_key=dg.EnvVar(API_KEY) if settings.needs_api_key else "",
        markets_url=settings.markets_url,
        left_out={ACTIVITY.name: list(settings.activity_without)}
        if settings.activity_without
        else {},
        proxy=dg.EnvVar(settings.proxy) if settings.proxy else "",
    )


def store_resource(settings: Settings) -> StoreResource:
    """The configured store."""
    if parse_bucket(settings.store) is None:
        return StoreResource(url=settings.store, umask=settings.umask)
    with _google_cloud("POLYCOPY_STORE", settings.store):
        # Google's clients take a second, and need not be installed.
        from polycopy_assets.resources import google  # noqa: PLC0415
    return google.store_resource(settings)


def warehouse_resource(settings: Settings) -> WarehouseResource:
    """The configured warehouse."""
    if parse_dataset(settings.warehouse) is None:
        return WarehouseResource(
            url=settings.warehouse,
            umask=settings.umask,
            memory=settings.memory,
            feeds=list(settings.feeds),
        )
    with _google_cloud("POLYCOPY_WAREHOUSE", settings.warehouse):
        from polycopy_assets.resources import google  # noqa: PLC0415 - the same
    return google.warehouse_resource(settings)


@contextmanager
def _google_cloud(name: str, value: str) -> Iterator[None]:
    """Turns a missing client of Google's into an error of the setting that needs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_GOOGLE:
            raise
        raise ConfigurationError(
            f"{name}={quoted(value)} needs the extra for Google Cloud: {EXTRA}"
        ) from error


def open_store(
    settings: Settings,
    instance: dg.DagsterInstance,
    feed: Feed = TRADES,
    *,
    keep: bool = True,
) -> FeedStore:
    """The configured store as `feed` sees it, checked to be the one that `instance` works with.

    With `keep` False nothing is written, even if instance or store have no id yet.
    """
    return FeedStore(checked(instance, store_resource(settings).connect(), keep=keep), feed)


def open_warehouse(settings: Settings, asset: str) -> Warehouse:
    """The configured warehouse, opened by a command for `asset`."""
    return warehouse_resource(settings).open(asset)


def open_warehouse_for(
    settings: Settings,
    instance: dg.DagsterInstance,
    store: FeedStore,
    asset: str,
    *,
    keep: bool = True,
) -> Warehouse:
    """The same, its table checked to hold the batches of `store`; raises WrongTable if not.

    With `keep` False nothing is written.
    """
    warehouse = open_warehouse(settings, asset)
    checked_table(instance, store, warehouse.table(store.feed), keep=keep)
    return warehouse
