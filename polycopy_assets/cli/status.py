"""`polycopy status`: how things stand."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click
import dagster as dg
import msgspec

from polycopy_assets.cli.common import Command, as_json, one_line_errors, say
from polycopy_assets.cli.failed import print_failed
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.next_steps import next_steps
from polycopy_assets.cli.usable import usable
from polycopy_assets.cli.without_trades import named_without_trades, without_trades
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import named
from polycopy_assets.record import attempts, refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.instance import differing_sections
from polycopy_assets.record.lost_record import warning
from polycopy_assets.record.partitions import IN_PARTITIONS, invalid_keys, registered
from polycopy_assets.record.wanted import standing
from polycopy_assets.resources.chosen import open_store, open_warehouse_for
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.wanted import read_wanted
from polycopy_assets.text import counted, first_few
from polycopy_assets.trades.segment import recorded_rows
from polycopy_assets.trades.wallet import refusals, sort_out
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.feed_table import FeedTable


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Wallets by state, trades by the record, rows in the table.

    `removed` are the wallets that are not collected any more. `without_row` are collected, but not
    in `traders`; `without_partition` the other way round. `store`, `table` and `record` say where
    everything lies. If several feeds are collected, `feeds` has the numbers of each; the others are
    those of the first, but for `remaining` and `failed`: there a wallet counts if it does for any.
    """

    total: int
    complete: int
    complete_without_trades: int
    remaining: int
    failed: int
    trades: int
    table_rows: int
    removed: int
    without_row: int
    without_partition: int
    store: str
    table: str
    record: str
    next_steps: list[str]
    feeds: list["FeedStatus"] | msgspec.UnsetType = msgspec.UNSET


class FeedStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Wallets by state for one feed, its rows by the record, and the rows in its table."""

    feed: str
    complete: int
    remaining: int
    failed: int
    rows: int
    table_rows: int


class _Counted(NamedTuple):
    """What the record of one feed says of the wallets that are collected, and its table."""

    recorded: Mapping[str, str]
    complete: list[str]
    failed: list[str]
    rows: int
    store: FeedStore
    warehouse: Warehouse
    table: FeedTable
    table_rows: int

    def figures(self, wallets: int) -> FeedStatus:
        """Of so many `wallets`."""
        return FeedStatus(
            feed=self.table.feed.name,
            complete=len(self.complete),
            remaining=wallets - len(self.complete),
            failed=len(self.failed),
            rows=self.rows,
            table_rows=self.table_rows,
        )


def status(instance: dg.DagsterInstance, settings: Settings) -> Status:
    """How things stand, by the record and the table; sends nothing to the source.

    Raises WrongStore if the configured store is not the instance's, and WrongTable if the table is
    not that store's.
    """
    wallets = registered(instance)
    found = [_counted(instance, settings, feed, wallets) for feed in named(settings.feeds)]
    first, store = found[0], found[0].store
    complete = set(wallets).intersection(*(each.complete for each in found))
    stands = standing(wallets, sort_out(first.warehouse.traders())[0], read_wanted(store))
    numbers = {
        "remaining": len(wallets) - len(complete),
        "failed": len({wallet for each in found for wallet in each.failed}),
        "trades": first.rows,
        "table_rows": first.table_rows,
    }
    lacking = next((each for each in found if each.table_rows < each.rows), first)
    return Status(
        total=len(wallets),
        complete=len(complete),
        complete_without_trades=len(without_trades(first.complete, first.recorded)),
        removed=len(stands.removed),
        without_row=len(stands.without_row),
        without_partition=len(stands.without_partition),
        store=store.uri(store.names.segments).removesuffix(store.names.segments),
        table=first.table.uri,
        record=_RECORDS.get(settings.instance, settings.home),
        next_steps=next_steps(
            len(wallets),
            numbers["remaining"],
            numbers["failed"],
            lacking.rows,
            lacking.table_rows,
            stands=stands,
            feeds=settings.feeds,
        ),
        feeds=[each.figures(len(wallets)) for each in found] if len(found) > 1 else msgspec.UNSET,
        **numbers,
    )


def _counted(
    instance: dg.DagsterInstance, settings: Settings, feed: Feed, wallets: Sequence[str]
) -> _Counted:
    store = open_store(settings, instance, feed, keep=False)
    record = FeedRecord(instance, feed)
    recorded = record.versions()
    left = refetching.unfinished(record)
    there = [wallet for wallet in wallets if wallet in recorded]
    warehouse = open_warehouse_for(settings, instance, store, feed.table, keep=False)
    table = warehouse.table(feed)
    return _Counted(
        recorded=recorded,
        complete=[wallet for wallet in there if wallet not in left],
        failed=attempts.failed(record),
        rows=sum(recorded_rows({wallet: recorded[wallet] for wallet in there}).values()),
        store=store,
        warehouse=warehouse,
        table=table,
        table_rows=table.count_rows(),
    )


_RECORDS = {
    "postgres": "the Postgres database in POLYCOPY_INSTANCE",
    "ephemeral": "nowhere: each command rebuilds it from the store",
}


@click.command(
    "status",
    cls=Command,
    needs_data=True,
    examples=(
        "polycopy status",
        "polycopy status --failed --json",
    ),
)
@click.option("--failed", is_flag=True, help="List the failed wallets, each with its reason.")
@as_json
def status_command(*, failed: bool, as_json: bool) -> None:
    """Count wallets, trades and table rows.

    Also says where store, table and record lie, and what to do next. Creates nothing, and sends
    nothing to the source.
    """
    with one_line_errors():
        if failed:
            print_failed(settings(), as_json=as_json)
            return
        found = run_status(settings())
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    click.echo(f"wallets     {found.total:>14,}")
    click.echo(f"  complete  {found.complete:>14,}")
    click.echo(f"    without trades {found.complete_without_trades:>7,}")
    click.echo(f"  remaining {found.remaining:>14,}")
    click.echo(f"  failed    {found.failed:>14,}")
    click.echo(f"  removed   {found.removed:>14,}")
    if not found.feeds:
        click.echo(f"trades      {found.trades:>14,}")
        click.echo(f"table rows  {found.table_rows:>14,}")
    for each in found.feeds or ():
        click.echo(
            f"{each.feed:<12}{each.complete:,} complete, {each.remaining:,} remaining,"
            f" {each.failed:,} failed; {counted(each.rows, 'row')} recorded,"
            f" {each.table_rows:,} in the table"
        )
    for name, where in (("store", found.store), ("table", found.table), ("record", found.record)):
        click.echo(f"{name:<8}{where}")
    for step in found.next_steps:
        click.echo(f"next    {step}")


def run_status(chosen: Settings) -> Status:
    """How things stand; what deserves attention is said on standard error."""
    with open_instance(chosen, Needs.RECORD) as instance, usable(chosen):
        found = status(instance, chosen)
        empty = without_trades(
            registered(instance), FeedRecord(instance, named(chosen.feeds)[0]).versions()
        )
        for line in (
            *refusals(invalid_keys(instance), IN_PARTITIONS),
            *named_without_trades(empty),
        ):
            say(line)
        if chosen.instance != "ephemeral" and (sections := differing_sections(chosen.home)):
            say(
                f"{chosen.home}/dagster.yaml: {first_few(sections, 3)} not as this version writes"
                " it. To take that: stop everything, move the file away, `polycopy init`. If the"
                " change is yours, delete the file's first line"
            )
        rows = [each.table_rows for each in found.feeds or [found]]
        for feed, table_rows in zip(named(chosen.feeds), rows, strict=True):
            store = open_store(chosen, instance, feed, keep=False)
            if lost := warning(instance, store, table_rows, chosen.home):
                say(f"polycopy: {lost}")
    return found
