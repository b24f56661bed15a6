"""`polycopy status`: how things stand."""

import click
import dagster as dg
import msgspec

from polycopy_assets.cli.common import Command, as_json, one_line_errors, say
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.usable import usable
from polycopy_assets.cli.without_trades import named_without_trades, without_trades
from polycopy_assets.record import attempts, materializations, refetching
from polycopy_assets.record.lost_record import warning
from polycopy_assets.record.partitions import IN_PARTITIONS, invalid_keys, registered
from polycopy_assets.resources.chosen import open_store, open_table
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.trades.segment import recorded_rows
from polycopy_assets.trades.wallet import refusals


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
    """How things stand, by the record and the table; sends nothing to the source.

    Raises WrongStore if the configured store is not the instance's, and WrongTable if the table is
    not that store's.
    """
    store = open_store(settings, instance, keep=False)
    wallets = registered(instance)
    recorded = materializations.versions(instance)
    left = refetching.unfinished(instance)
    there = [wallet for wallet in wallets if wallet in recorded]
    here = [wallet for wallet in there if wallet not in left]
    return Status(
        total=len(wallets),
        complete=len(here),
        complete_without_trades=len(without_trades(here, recorded)),
        remaining=len(wallets) - len(here),
        failed=len(attempts.failed(instance)),
        trades=sum(recorded_rows({wallet: recorded[wallet] for wallet in there}).values()),
        table_rows=open_table(settings, instance, store, "trades", keep=False).count_rows(),
    )


@click.command("status", cls=Command)
@as_json
def status_command(*, as_json: bool) -> None:
    """Count wallets, trades and table rows."""
    with one_line_errors():
        found = run_status(settings())
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    click.echo(f"wallets     {found.total:>14,}")
    click.echo(f"  complete  {found.complete:>14,}")
    click.echo(f"    without trades {found.complete_without_trades:>7,}")
    click.echo(f"  remaining {found.remaining:>14,}")
    click.echo(f"  failed    {found.failed:>14,}")
    click.echo(f"trades      {found.trades:>14,}")
    click.echo(f"table rows  {found.table_rows:>14,}")


def run_status(chosen: Settings) -> Status:
    """How things stand; what deserves attention is said on standard error."""
    with open_instance(chosen, Needs.RECORD) as instance, usable(chosen):
        found = status(instance, chosen)
        empty = without_trades(registered(instance), materializations.versions(instance))
        for line in (
            *refusals(invalid_keys(instance), IN_PARTITIONS),
            *named_without_trades(empty),
        ):
            say(line)
        if lost := warning(instance, open_store(chosen, instance, keep=False), found.table_rows):
            say(f"polycopy: {lost}")
    return found
