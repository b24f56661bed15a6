"""`polycopy demo`: the whole pipeline on the built-in sample API."""

import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

import click

from polycopy_assets.cli.backfill import run_backfill
from polycopy_assets.cli.backfill_report import exit_code, print_report
from polycopy_assets.cli.common import Command, called, one_line_errors, say
from polycopy_assets.cli.demo_world import Demo, refuse_others, run_demo
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.talk import talkative
from polycopy_assets.cli.wallets import add_wallets
from polycopy_assets.feeds.base import Feed
from polycopy_assets.resources.chosen import open_warehouse
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.settings.feeds import FEEDS
from polycopy_assets.settings.instance import INSTANCE
from polycopy_assets.text import counted


@click.command(
    "demo",
    cls=Command,
    examples=(
        "polycopy demo",
        "POLYCOPY_STORE=try/store polycopy demo --quiet",
        "POLYCOPY_FEEDS=trades,activity polycopy demo --serve",
    ),
    page="docs/install.md",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Serve the Data API v2 rows in this directory's JSONL files, not generated ones.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Go on serving the sample API afterwards, until Ctrl-C: for `polycopy markets`.",
)
@talkative
def demo_command(data: Path | None, *, serve: bool) -> None:
    """Run the whole pipeline offline, on the built-in sample API.

    With POLYCOPY_FEEDS=trades,activity its wallets have whole ledgers, and both feeds are fetched.
    """
    with one_line_errors(), run_demo(settings(), data) as sample:
        with open_instance(sample.settings, Needs.RECORD) as instance:
            refuse_others(instance, sample)
        say(f"The sample API at {sample.settings.source_url} serves {sample.title}.")
        add_wallets(sample.settings, sample.wallets)
        report = run_backfill(sample.settings, refresh=False)
        warehouse = open_warehouse(sample.settings, "trades")
        tables = [(feed, warehouse.table(feed).rows_by_wallet()) for feed in sample.feeds]
        print_report(report)
        right = [_compared(sample, feed, rows) for feed, rows in tables]
        _places(sample, serve=serve)
        if serve:
            _serve(sample)
    sys.exit(exit_code(report) or (0 if all(right) else 1))


def _compared(sample: Demo, feed: Feed, rows: Mapping[str, int]) -> bool:
    """Prints what was served of a feed, and whether the table has it; returns that."""
    served, requests = sample.rows(feed), sample.requests(feed)
    in_table = sum(rows.get(wallet, 0) for wallet in sample.wallets)
    right = in_table == served
    click.echo(
        f"{counted(len(sample.wallets), 'sample wallet')}, "
        f"{counted(served, feed.row, feed.rows)} served,"
        f" {counted(in_table, 'row')} in the table{'' if right else ': THEY DIFFER'};"
        f" {counted(requests, 'request')} for {feed.name}"
        + ("" if requests else ": nothing was fetched again")
    )
    return right


def _places(sample: Demo, *, serve: bool) -> None:
    """Prints where everything is now, and what to do next."""
    click.echo(f"  segments and batches  {_place(sample.settings.store)}")
    for feed in sample.feeds:
        click.echo(f"  {f'table `{feed.table}`':20}  {_place(sample.settings.warehouse)}")
    click.echo(f"  Dagster's record      {_record(settings())}")
    if settings().instance != "ephemeral":
        click.echo(f"Next: `{called()} dev` opens Dagster's UI on it, at http://127.0.0.1:3000")
    if len(sample.feeds) > 1 and not serve:
        click.echo(f"Or:   `{called()} demo --serve` goes on serving, for `{called()} markets`")


def _serve(sample: Demo) -> None:
    """Serves until Ctrl-C."""
    chosen = f"{FEEDS}={','.join(sample.settings.feeds)} " if len(sample.feeds) > 1 else ""
    click.echo(
        f"Serving until Ctrl-C. In another terminal, in this directory:\n"
        f"  {chosen}POLYCOPY_SOURCE_URL={sample.settings.source_url} {called()} markets"
    )
    # Not by KeyboardInterrupt: what is started in a script's background inherits SIGINT as ignored.
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()


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
