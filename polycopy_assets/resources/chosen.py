"""The store and the warehouse in the settings, for Dagster and for commands."""

import dagster as dg

from polycopy_assets.record.store_id import checked, checked_table
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource
from polycopy_assets.settings import Settings
from polycopy_assets.settings.parse import parse_bucket, parse_dataset
from polycopy_assets.store.base import Store
from polycopy_assets.warehouse.base import Warehouse


def store_resource(settings: Settings) -> StoreResource:
    """The configured store."""
    if parse_bucket(settings.store) is None:
        return StoreResource(url=settings.store, shared=settings.shared)
    from polycopy_assets.resources import google  # noqa: PLC0415 - Google's clients take a second

    return google.store_resource(settings)


def warehouse_resource(settings: Settings) -> WarehouseResource:
    """The configured warehouse."""
    if parse_dataset(settings.warehouse) is None:
        return WarehouseResource(
            url=settings.warehouse, shared=settings.shared, memory=settings.memory
        )
    from polycopy_assets.resources import google  # noqa: PLC0415 - the same

    return google.warehouse_resource(settings)


def open_store(settings: Settings, instance: dg.DagsterInstance, *, keep: bool = True) -> Store:
    """The configured store, checked to be the one that `instance` works with.

    With `keep` False nothing is written, even if instance or store have no id yet.
    """
    return checked(instance, store_resource(settings).connect(), keep=keep)


def open_warehouse(settings: Settings, asset: str) -> Warehouse:
    """The configured warehouse, opened by a command for `asset`."""
    return warehouse_resource(settings).open(asset)


def open_table(
    settings: Settings, instance: dg.DagsterInstance, store: Store, asset: str, *, keep: bool = True
) -> Warehouse:
    """The same, checked to hold the batches of `store`; raises WrongTable if it does not.

    With `keep` False nothing is written.
    """
    return checked_table(instance, store, open_warehouse(settings, asset), keep=keep)
