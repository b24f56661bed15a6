"""The `polycopy` command."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

import click
import dotenv
import msgspec

from polycopy_assets.errors import ConfigurationError, PolycopyError
from polycopy_assets.settings import Settings

NAMED_FAILURES = 10
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, nothing else.")


def say(text: str) -> None:
    """One line for people, on standard error: standard output is for results."""
    click.echo(text, err=True)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns our exceptions into one line and an exit code: 2 configuration, 1 the rest."""
    try:
        yield
    except ConfigurationError as error:
        say(f"polycopy: {error}")
        sys.exit(2)
    except PolycopyError as error:
        say(f"polycopy: {error}")
        sys.exit(1)


def _definitions() -> ModuleType:
    """The definitions, imported late: a wrong setting stops there."""
    from polycopy_assets import definitions  # noqa: PLC0415 - reads the environment

    return definitions


def _settings() -> Settings:
    dotenv.load_dotenv(Path.cwd() / ".env")
    settings: Settings = _definitions().settings()
    os.environ["DAGSTER_HOME"] = settings.home
    return settings


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@click.group()
@click.version_option(package_name="polycopy-assets")
def main() -> None:
    """Every trade of every wanted Polymarket wallet, once, in one table."""
    signal.signal(signal.SIGTERM, _stop)


@main.command()
def init() -> None:
    """Make the Dagster home ready, so that several processes can use it."""
    with one_line_errors():
        settings = _settings()
        from polycopy_assets.instance import opened  # noqa: PLC0415

        with opened(settings.home):
            click.echo(settings.home)


@main.group()
def wallets() -> None:
    """Who is wanted."""


@wallets.command("add")
@click.argument("addresses", nargs=-1)
@click.option("-f", "--file", type=click.File(), help="A file with one address a line.")
def add(addresses: Sequence[str], file: Iterator[str] | None) -> None:
    """Add wallets to the table `traders`, in any case; those it has are no error."""
    from polycopy_assets.resources import WarehouseResource  # noqa: PLC0415
    from polycopy_assets.trades.wallet import sort_out  # noqa: PLC0415

    with one_line_errors():
        settings = _settings()
        lines = (line.split("#")[0].strip() for line in file or ())
        good, refused = sort_out([*addresses, *(line for line in lines if line)])
        if not good and not refused:
            raise ConfigurationError("no wallet given: name addresses, or a file with -f")
        added = WarehouseResource(url=settings.warehouse).open().add_traders(good)
    for text in refused:
        say(f"refused: {text!r} is not a wallet (expected 0x and 40 hex digits)")
    click.echo(f"{added} added, {len(good) - added} known already, {len(refused)} refused")
    sys.exit(2 if refused else 0)


@main.command()
@click.option("--refresh", is_flag=True, help="Bring complete wallets up to date as well.")
@_JSON
def backfill(*, refresh: bool, as_json: bool) -> None:
    """Fetch every wallet that is not complete, combine, and load."""
    with one_line_errors():
        report = run_backfill(_settings(), refresh=refresh)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        _print_report(report)
    sys.exit(1 if report.failed or report.remaining or report.failed_checks else 0)


def run_backfill(settings: Settings, *, refresh: bool):  # noqa: ANN201 - Report, imported late
    """The backfill with its progress on standard error."""
    from polycopy_assets.backfill import backfill  # noqa: PLC0415
    from polycopy_assets.display import own_stderr, shown  # noqa: PLC0415
    from polycopy_assets.instance import opened  # noqa: PLC0415
    from polycopy_assets.progress import Progress  # noqa: PLC0415

    progress = Progress()
    with opened(settings.home) as instance, own_stderr() as stream, shown(progress, stream):
        return backfill(
            instance,
            settings,
            refresh=refresh,
            progress=progress,
            say=lambda text: print(text, file=stream, flush=True),
        )


@main.command()
@_JSON
def status(*, as_json: bool) -> None:
    """Wallets total, complete, remaining and failed; trades; rows in the table."""
    from polycopy_assets.backfill import status as look  # noqa: PLC0415

    with one_line_errors():
        settings = _settings()
        from polycopy_assets.instance import opened  # noqa: PLC0415

        with opened(settings.home) as instance:
            found = look(instance, settings)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    click.echo(
        f"wallets     {found.total:>14,}\n"
        f"  complete  {found.complete:>14,}\n"
        f"  remaining {found.remaining:>14,}\n"
        f"  failed    {found.failed:>14,}\n"
        f"trades      {found.trades:>14,}\n"
        f"table rows  {found.table_rows:>14,}"
    )


def _print_report(report) -> None:  # noqa: ANN001
    if not report.requests and not report.failures:
        click.echo(f"Nothing to fetch: all {report.complete:,} wallets are complete.")
    else:
        click.echo(
            f"{report.trades_fetched:,} trades fetched with {report.requests:,} requests"
            f" in {report.seconds:.1f} s"
        )
    click.echo(
        f"{report.complete:,} of {report.wallets:,} wallets complete, {report.failed:,} failed;"
        f" {report.table_rows:,} rows in the table"
    )
    for failure in report.failures[:NAMED_FAILURES]:
        say(f"failed: {failure.wallet}: {failure.reason}")
    if len(report.failures) > NAMED_FAILURES:
        say(f"and {len(report.failures) - NAMED_FAILURES} more")
    for check in report.failed_checks:
        say(f"check failed: {check}")


Command = Callable[..., None]

if __name__ == "__main__":
    main()
