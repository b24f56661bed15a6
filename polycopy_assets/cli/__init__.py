"""The `polycopy` command."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from polycopy_assets import record
from polycopy_assets.assembly import settings
from polycopy_assets.backfill import (
    Report,
    accepted,
    accepted_table,
    backfill,
    check_usable,
    named_without_trades,
    status,
    usable,
    without_trades,
)
from polycopy_assets.cli.common import Group, as_json, one_line_errors, say
from polycopy_assets.cli.reconcile import reconcile_command
from polycopy_assets.demo.run import refuse_others, run_demo
from polycopy_assets.display import own_stderr, shown
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.instance import opened
from polycopy_assets.interrupt import interrupt, on_interrupt
from polycopy_assets.lost_record import warning
from polycopy_assets.partitions import STRAY, register, registered, strays
from polycopy_assets.progress import Progress
from polycopy_assets.resources import open_store, open_warehouse
from polycopy_assets.settings import Settings
from polycopy_assets.text import by_reason
from polycopy_assets.trades.wallet import refusals, sort_out
from polycopy_assets.trades.wallet_list import MOST_BYTES, NO_LIST, addresses_in, read_list
from polycopy_assets.trades.wallet_list import refusals as list_refusals

NAMED_FAILURES = 10


@click.group(cls=Group)
@click.version_option(package_name="polycopy-assets")
def polycopy() -> None:
    """Every trade of every wanted Polymarket wallet, once, in one table."""
    on_interrupt(interrupt)


@polycopy.command()
@click.option(
    "--accept-store",
    is_flag=True,
    help="Work with the store that POLYCOPY_STORE names from now on: it was moved there.",
)
@click.option(
    "--accept-table",
    is_flag=True,
    help="Take the table that POLYCOPY_WAREHOUSE names for this store's: everything is loaded into"
    " it again.",
)
def init(*, accept_store: bool, accept_table: bool) -> None:
    """Make the Dagster home ready, so that several processes can use it."""
    with one_line_errors(), opened(settings().home) as instance:
        if accept_store:
            say(accepted(instance, settings()))
        if accept_table:
            say(accepted_table(instance, settings()))
        click.echo(settings().home)


@polycopy.group()
def wallets() -> None:
    """Who is wanted."""


@wallets.command()
@click.argument("addresses", nargs=-1)
@click.option("-f", "--file", type=click.File("rb"), help="A file with one address a line.")
def add(addresses: Sequence[str], file: BinaryIO | None) -> None:
    """Add wallets to the table `traders`, in any case; those it has are no error."""
    with one_line_errors():
        name = Path(file.name).name if file else ""
        listed = read_list(file.read(MOST_BYTES + 1), name) if file else NO_LIST
        given = [found[0] if len(found := addresses_in(text)) == 1 else text for text in addresses]
        good, refused = sort_out([*given, *listed.addresses])
        count = len(refused) + len(listed.refused)
        if not good and not count:
            why = ["no wallet given: name addresses, or a file with -f"]
            raise ConfigurationError("; ".join([*why, *list_refusals(listed, name)]))
        added = _add(settings(), good)
    for line in (*refusals(refused), *list_refusals(listed, name)):
        say(line)
    click.echo(f"{added} added, {len(good) - added} known already, {count} refused")
    sys.exit(2 if count else 0)


@polycopy.command("backfill")
@click.option("--refresh", is_flag=True, help="Bring complete wallets up to date as well.")
@as_json
def backfill_command(*, refresh: bool, as_json: bool) -> None:
    """Fetch every wallet that is not complete, combine, and load."""
    with one_line_errors():
        report = _backfill(settings(), refresh=refresh)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print(report)
    sys.exit(_exit_code(report))


@polycopy.command("status")
@as_json
def status_command(*, as_json: bool) -> None:
    """Wallets total, complete, remaining and failed; trades; rows in the table."""
    with one_line_errors(), opened(settings().home) as instance, usable(settings()):
        found = status(instance, settings())
        empty = without_trades(registered(instance), record.versions(instance))
        for line in (*refusals(strays(instance), STRAY), *named_without_trades(empty)):
            say(line)
        if lost := warning(
            instance, open_store(settings(), instance, keep=False), found.table_rows
        ):
            say(f"polycopy: {lost}")
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


@polycopy.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory of JSONL files with Data API v2 rows, served instead of generated wallets.",
)
def demo(data: Path | None) -> None:
    """Run the whole pipeline on the built-in sample API: offline, on an empty machine."""
    with one_line_errors(), run_demo(settings(), data) as sample:
        with opened(sample.settings.home) as instance:
            refuse_others(instance, sample)
        say(f"The sample API at {sample.settings.source_url} serves {sample.title}.")
        _add(sample.settings, sample.wallets)
        report = _backfill(sample.settings, refresh=False)
        rows = open_warehouse(sample.settings, "trades").rows_by_wallet()
    _print(report)
    in_table = sum(rows.get(wallet.lower(), 0) for wallet in sample.wallets)
    right = in_table == sample.trades
    click.echo(
        f"{len(sample.wallets):,} sample wallets, {sample.trades:,} trades served,"
        f" {in_table:,} rows in the table{'' if right else ': THEY DIFFER'};"
        f" {sample.trade_requests:,} trade requests"
        + ("" if sample.trade_requests else ": nothing was fetched again")
    )
    click.echo(f"  segments and batches  {_place(sample.settings.store)}")
    click.echo(f"  table `trades`        {_place(sample.settings.warehouse)}")
    click.echo(f"  Dagster's record      {settings().home}")
    click.echo("Next: `make dev` opens Dagster's UI on it, at http://127.0.0.1:3000")
    sys.exit(_exit_code(report) or (0 if right else 1))


def _place(setting: str) -> str:
    """Where a store or a warehouse lies: an address as it is, a path from the root."""
    return setting if "://" in setting else str(Path(setting).absolute())


def _add(chosen: Settings, wallets: Sequence[str]) -> int:
    """Puts wallets into `traders` and registers them; how many `traders` did not have."""
    with opened(chosen.home) as instance:
        check_usable(instance, chosen)
        added = open_warehouse(chosen, "traders").add_traders(wallets)
        register(instance, wallets)
    return added


def _backfill(chosen: Settings, *, refresh: bool) -> Report:
    """The backfill, with its progress on standard error."""
    progress = Progress()
    with (
        opened(chosen.home) as instance,
        own_stderr() as stream,
        shown(progress, "backfill", stream),
    ):
        return backfill(
            instance,
            chosen,
            refresh=refresh,
            progress=progress,
            say=lambda text: print(text, file=stream, flush=True),
        )


def _print(report: Report) -> None:
    if not report.requests and not report.failures and not report.errors:
        click.echo(f"Nothing to fetch: all {report.complete:,} wallets are complete.")
    else:
        click.echo(
            f"{report.trades_fetched:,} trades fetched with {report.requests:,} requests"
            f" in {report.seconds:.1f} s."
        )
    click.echo(
        f"{report.complete:,} of {report.wallets:,} wallets complete, {report.failed:,} failed;"
        + ("" if report.table_rows is None else f" {report.table_rows:,} rows in the table.")
    )
    for line in by_reason(((i.wallet, i.reason) for i in report.failures), NAMED_FAILURES):
        say(f"failed: {line}")
    for check in report.failed_checks:
        say(f"check failed: {check}")
    for error in report.errors:
        say(f"polycopy: {error}")


def _exit_code(report: Report) -> int:
    left = report.failed or report.remaining or report.failed_checks or report.errors
    return 1 if left else 0


polycopy.add_command(reconcile_command)
