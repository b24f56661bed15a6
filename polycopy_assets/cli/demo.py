"""`polycopy demo`: the whole pipeline on the built-in sample API."""

import sys
from pathlib import Path
from typing import assert_never

import click

from polycopy_assets.cli.backfill import exit_code, print_report, run_backfill
from polycopy_assets.cli.common import Command, called, one_line_errors, say
from polycopy_assets.cli.demo_world import refuse_others, run_demo
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.talk import talkative
from polycopy_assets.cli.wallets import add_wallets
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.resources.chosen import open_warehouse
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.settings.instance import INSTANCE
from polycopy_assets.text import counted


@click.command(
    "demo",
    cls=Command,
    examples=(
        "polycopy demo",
        "POLYCOPY_STORE=try/store polycopy demo --quiet",
    ),
    page="docs/install.md",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Serve the Data API v2 rows in this directory's JSONL files, not generated ones.",
)
@talkative
def demo_command(data: Path | None) -> None:
    """Run the whole pipeline offline, on the built-in sample API."""
    with one_line_errors(), run_demo(settings(), data) as sample:
        with open_instance(sample.settings, Needs.RECORD) as instance:
            refuse_others(instance, sample)
        say(f"The sample API at {sample.settings.source_url} serves {sample.title}.")
        add_wallets(sample.settings, sample.wallets)
        report = run_backfill(sample.settings, refresh=False)
        rows = open_warehouse(sample.settings, "trades").table(TRADES).rows_by_wallet()
    print_report(report)
    in_table = sum(rows.get(wallet, 0) for wallet in sample.wallets)
    right = in_table == sample.trades
    click.echo(
        f"{counted(len(sample.wallets), 'sample wallet')}, "
        f"{counted(sample.trades, 'trade')} served,"
        f" {counted(in_table, 'row')} in the table{'' if right else ': THEY DIFFER'};"
        f" {counted(sample.trade_requests, 'trade request')}"
        + ("" if sample.trade_requests else ": nothing was fetched again")
    )
    click.echo(f"  segments and batches  {_place(sample.settings.store)}")
    click.echo(f"  table `trades`        {_place(sample.settings.warehouse)}")
    click.echo(f"  Dagster's record      {_record(settings())}")
    if settings().instance != "ephemeral":
        click.echo(f"Next: `{called()} dev` opens Dagster's UI on it, at http://127.0.0.1:3000")
    sys.exit(exit_code(report) or (0 if right else 1))


def _record(chosen: Settings) -> str:
    match chosen.instance:
        case "files":
            return chosen.home
        case "postgres":
            return f"the database of {INSTANCE}"
        case "ephemeral":
            return "none is kept: each command rebuilds it"
        case _:
            assert_never(chosen.instance)


def _place(setting: str) -> str:
    """Where a store or a warehouse is: a URL as it stands, a path made absolute."""
    return setting if "://" in setting else str(Path(setting).absolute())
