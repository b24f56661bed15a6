"""The backfill from the command line: register, fetch, combine, load. All state is elsewhere."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import dagster as dg
import msgspec

from polycopy_assets import attempts, record, refetching
from polycopy_assets.assembly import build
from polycopy_assets.errors import (
    DatabaseBusy,
    PolycopyError,
    QuotaExceeded,
    StoreError,
    WarehouseBusy,
    WarehouseError,
)
from polycopy_assets.identity import accept, checked_table, fits
from polycopy_assets.liveness import end_dead_runs
from polycopy_assets.lost_record import refuse_lost_record
from polycopy_assets.partitions import STRAY, register, registered, strays
from polycopy_assets.progress import Progress
from polycopy_assets.resources import open_store, open_table, open_warehouse, store_resource
from polycopy_assets.runs import Runs
from polycopy_assets.settings import Settings, parse_bucket, parse_dataset, wrong
from polycopy_assets.trades.wallet import refusals

Say = Callable[[str], None]
_NAMED = 10


class Failure(msgspec.Struct, frozen=True):
    """A wallet that failed, and why."""

    wallet: str
    reason: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a backfill came to.

    `trades_fetched` are new rows in the store, `requests` HTTP requests of all kinds,
    `failed_checks` what the checks of the table found, if it was loaded, and `errors` what else
    went wrong: why the fetch ended early, why the table could not be loaded. `table_rows` is None
    if the table cannot be read.
    """

    wallets: int
    complete: int
    failed: int
    remaining: int
    complete_without_trades: int
    requests: int
    trades_fetched: int
    table_rows: int | None
    seconds: float
    failures: list[Failure]
    failed_checks: list[str]
    errors: list[str]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Wallets by state, trades by the record, rows in the table."""

    total: int
    complete: int
    complete_without_trades: int
    remaining: int
    failed: int
    trades: int
    table_rows: int


def status(instance: dg.DagsterInstance, settings: Settings) -> Status:
    """How things stand, by the record and the table; asks the source nothing.

    Raises WrongStore if the store that is set is not the one that was recorded, and WrongTable if
    the table is not of that store.
    """
    store = open_store(settings, instance, keep=False)
    wallets = registered(instance)
    recorded = record.versions(instance)
    left = refetching.unfinished(instance)
    there = [wallet for wallet in wallets if wallet in recorded]
    here = [wallet for wallet in there if wallet not in left]
    return Status(
        total=len(wallets),
        complete=len(here),
        complete_without_trades=len(without_trades(here, recorded)),
        remaining=len(wallets) - len(here),
        failed=len(attempts.failed(instance)),
        trades=sum(record.rows({wallet: recorded[wallet] for wallet in there}).values()),
        table_rows=open_table(settings, instance, store, "trades", keep=False).count_rows(),
    )


def without_trades(wallets: Iterable[str], versions: Mapping[str, str]) -> list[str]:
    """Those of `wallets` that are complete, by their data `versions`, and have no trade."""
    rows = record.rows(versions)
    return [wallet for wallet in wallets if rows.get(wallet) == 0]


def named_without_trades(empty: Sequence[str]) -> Iterator[str]:
    """Lines for people that name the first of `empty`: most often it is the wrong address."""
    if not empty:
        return
    yield (
        f"complete without trades: {len(empty):,}. Polymarket trades under the address in the"
        " profile's URL, not under the one that signs:"
    )
    yield from (f"  {wallet}" for wallet in empty[:_NAMED])
    if len(empty) > _NAMED:
        yield f"  and {len(empty) - _NAMED:,} more"


def backfill(
    instance: dg.DagsterInstance,
    settings: Settings,
    *,
    refresh: bool,
    progress: Progress,
    say: Say,
) -> Report:
    """Brings every wanted wallet into the table.

    Wallets that failed are in the report, and do not keep the others from being loaded; neither
    does a fetch that ended badly. Raises PolycopyError if nothing could be begun.
    """
    errors: list[str] = []
    runs = Runs(lambda: build(settings, progress), progress)
    for run_id, cause in end_dead_runs(instance).items():
        say(f"run {run_id} was left behind and is ended: {cause}")
    busy = _begin(instance, settings, say)
    if busy:
        say(
            f"{busy}. Registered wallets are fetched meanwhile; the table is tried again at the end"
        )
    failed_checks = _work(instance, settings, runs, errors, refresh=refresh)
    if busy and not errors:
        with _told("`traders` could not be read", errors):
            if _register(instance, settings, say):
                failed_checks = _work(instance, settings, runs, errors, refresh=False)
    table_rows: int | None = None
    with _told("the table could not be counted", errors):
        table_rows = open_warehouse(settings, "trades").count_rows()
    wallets = registered(instance)
    complete = refetching.complete(instance)
    missing = [wallet for wallet in wallets if wallet not in complete]
    empty = without_trades(wallets, complete)
    for line in named_without_trades(empty):
        say(line)
    return Report(
        wallets=len(wallets),
        complete=len(wallets) - len(missing),
        complete_without_trades=len(empty),
        failed=len(progress.failures),
        remaining=len(missing),
        requests=progress.requests,
        trades_fetched=progress.stored,
        table_rows=table_rows,
        seconds=round(time.monotonic() - progress.started, 3),
        failures=[Failure(wallet, reason) for wallet, reason in progress.failures],
        failed_checks=failed_checks or [],
        errors=errors,
    )


@contextmanager
def _told(what: str, errors: list[str]) -> Iterator[None]:
    """Notes an error of ours in `errors` and goes on: what is done so far is still to be used."""
    try:
        yield
    except DatabaseBusy:
        raise  # nothing can be done without Dagster's database
    except PolycopyError as error:
        errors.append(f"{what}: {error}")


def _begin(instance: dg.DagsterInstance, settings: Settings, say: Say) -> WarehouseBusy | None:
    """Checks that the work can begin, and registers new wallets; why not, if the table is busy."""
    busy = None
    try:
        check_usable(instance, settings)
        _register(instance, settings, say)
    except WarehouseBusy as error:
        busy = error
    refuse_lost_record(instance, open_store(settings, instance))
    return busy


def _work(
    instance: dg.DagsterInstance,
    settings: Settings,
    runs: Runs,
    errors: list[str],
    *,
    refresh: bool,
) -> list[str] | None:
    """Fetches and loads; the checks that failed. What ended badly is noted in `errors`."""
    complete = refetching.complete(instance)
    if refresh or any(wallet not in complete for wallet in registered(instance)):
        with _told("the fetch ended early", errors):
            runs.fetch(instance, select="all" if refresh else "remaining")
    with _told("the table could not be loaded", errors):
        store, table = open_store(settings, instance), open_warehouse(settings, "trades")
        return runs.load(instance, store, table)
    return []


def accepted(instance: dg.DagsterInstance, settings: Settings) -> str:
    """Accepts the store that is set, whichever it is; a line that says so, for people.

    The table of the one before goes with it; if its batches do not fit, all are loaded again.
    """
    store, table = store_resource(settings).connect(), open_warehouse(settings, "trades")
    held = table.held()
    with _usable_store(settings):
        before, now = accept(instance, store)
        if before and held.store == before:
            if fits(held, store):
                table.take_over(now)
            else:
                table.forget_batches()
    return (
        f"This Dagster instance works with {settings.store} from now on: its id is {now}, the one"
        f" before was {before or 'none'}. `polycopy reconcile` says what of the record is not there"
    )


def accepted_table(instance: dg.DagsterInstance, settings: Settings) -> str:
    """Accepts the table that is set, whosever it is; a line that says so, for people."""
    open_store(settings, instance)
    table = open_warehouse(settings, "trades")
    table.forget_batches()
    return (
        f"The table in {table.uri} is the table of this store from now on: the next `polycopy"
        " backfill` loads all batches into it. `polycopy reconcile` says what else is in it"
    )


def check_usable(instance: dg.DagsterInstance, settings: Settings) -> None:
    """Raises ConfigurationError if the store or the warehouse that is set cannot be written.

    Also if the store is not the one that `instance` works with, or the table not that store's.
    """
    with usable(settings):
        store = open_store(settings, instance)
        store.check_writable()
        table = open_warehouse(settings, "trades")
        table.check_writable()
    checked_table(instance, store, table)


@contextmanager
def usable(settings: Settings) -> Iterator[None]:
    """Turns what the store or the warehouse cannot do into an error of its setting.

    One that is busy, or whose quota is used up, is set right.
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
    """Turns what the store cannot do into an error of the setting."""
    try:
        yield
    except StoreError as error:
        what = "a bucket" if parse_bucket(settings.store) else "a directory"
        raise wrong("POLYCOPY_STORE", settings.store, f"{what} to write to: {error}") from error


def _register(instance: dg.DagsterInstance, settings: Settings, say: Say) -> bool:
    """Registers what is new in `traders`; whether anything is."""
    new, refused = register(instance, open_warehouse(settings, "traders").traders())
    if new:
        say(f"{len(new)} new wallets")
    for line in (*refusals(refused, " in the table traders"), *refusals(strays(instance), STRAY)):
        say(line)
    return bool(new)
