"""Whether the configured store and table can be used, and belong to this instance."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from polycopy_assets.errors import QuotaExceeded, StoreError, WarehouseBusy, WarehouseError
from polycopy_assets.feeds.known import named
from polycopy_assets.record.partitions import IN_PARTITIONS, invalid_keys
from polycopy_assets.record.store_id import accept, checked_table, fits
from polycopy_assets.record.wanted import Registered, register_wanted
from polycopy_assets.resources.chosen import open_store, open_warehouse, store_resource
from polycopy_assets.settings import Settings
from polycopy_assets.settings.parse import parse_bucket, parse_dataset, wrong
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted, first_lines
from polycopy_assets.trades.wallet import refusals

_NAMED = 3

Say = Callable[[str], None]


def accepted(instance: dg.DagsterInstance, settings: Settings) -> str:
    """Accepts the configured store, whatever its id; returns a line for people that says so.

    The table of the previous store becomes this store's; if its batches do not match, all batches
    are loaded again.
    """
    store = store_resource(settings).connect()
    feeds = named(settings.feeds)
    tables = [open_warehouse(settings, feed.table).table(feed) for feed in feeds]
    all_held = [table.held() for table in tables]
    with _usable_store(settings):
        before, now = accept(instance, store)
        for table, held in zip(tables, all_held, strict=True):
            if before and held.store == before:
                if fits(held, FeedStore(store, table.feed)):
                    table.take_over(now)
                else:
                    table.forget_batches()
    return (
        f"From now on, this Dagster instance uses {settings.store}: its id is {now}, the previous"
        f" one was {before or 'none'}. `polycopy reconcile` says which recorded data it lacks"
    )


def accepted_table(instance: dg.DagsterInstance, settings: Settings) -> str:
    """Accepts the configured table, whatever its store; returns a line for people that says so."""
    open_store(settings, instance)
    warehouse = open_warehouse(settings, "trades")
    for feed in named(settings.feeds):
        warehouse.table(feed).forget_batches()
    return (
        f"From now on, the table in {warehouse.uri} is the table of this store: the next `polycopy"
        " backfill` loads all batches into it. `polycopy reconcile` says what else is in it"
    )


def check_usable(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Raises ConfigurationError if the configured store or warehouse cannot be written.

    Also if the store is not the one that `instance` works with, or the table not that store's.
    """
    with usable(settings):
        store = open_store(settings, instance)
        store.check_writable()
        warehouse = open_warehouse(settings, "trades")
        warehouse.check_writable(store.place())
    for feed in named(settings.feeds):
        checked_table(instance, FeedStore(store, feed), warehouse.table(feed))


@contextmanager
def usable(settings: Settings) -> Iterator[None]:
    """Turns an error of the store or the warehouse into an error of its setting.

    Not if it is busy or its quota is used up: then the setting is not at fault.
    """
    try:
        with _usable_store(settings):
            yield
    except WarehouseError as error:
        if isinstance(error, WarehouseBusy | QuotaExceeded):
            raise
        what = "a dataset" if parse_dataset(settings.warehouse) else "a DuckDB file"
        raise wrong(
            "POLYCOPY_WAREHOUSE", settings.warehouse, f"{what} to write to: {error}"
        ) from error


@contextmanager
def _usable_store(settings: Settings) -> Iterator[None]:
    """Turns an error of the store into an error of its setting."""
    try:
        yield
    except StoreError as error:
        what = "a bucket" if parse_bucket(settings.store) else "a directory"
        raise wrong("POLYCOPY_STORE", settings.store, f"{what} to write to: {error}") from error


def register_new(instance: dg.DagsterInstance, settings: Settings, say: Say) -> bool:
    """Registers what is new in `traders`, and copies it to the store; whether anything is new."""
    store = open_store(settings, instance)
    found = register_wanted(instance, store, open_warehouse(settings, "traders"))
    say_registered(found, say)
    for line in refusals(invalid_keys(instance), IN_PARTITIONS):
        say(line)
    return bool(found.new)


def say_registered(found: Registered, say: Say) -> None:
    """Says what a reading of `traders` led to."""
    if found.restored:
        say(
            f"`traders` had no rows: {counted(found.restored, 'wallet was', 'wallets were')}"
            " added from the store's list"
        )
    if found.new:
        say(counted(len(found.new), "new wallet"))
    lines = [
        f"{wallet} was removed, and is not collected although it is in the table traders:"
        f" `polycopy wallets add {wallet}` collects it again"
        for wallet in found.retired
    ]
    for line in (*refusals(found.refused, " in the table traders"), *first_lines(lines, _NAMED)):
        say(line)
