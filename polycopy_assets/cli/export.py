"""`polycopy export`: trades as one file, for what reads files."""

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from polycopy_assets.cli.common import Command, one_line_errors, say
from polycopy_assets.errors import ConfigurationError, InvalidWallet
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.resources.chosen import open_warehouse
from polycopy_assets.settings.environment import settings
from polycopy_assets.text import counted, quoted
from polycopy_assets.trades.wallet import parse_wallet
from polycopy_assets.warehouse.reading import Form, Selection

_TABLES = [feed.table for feed in FEEDS.values()]
_FORMS: dict[str, Form] = {".csv": "csv", ".parquet": "parquet"}


@click.command(
    "export",
    cls=Command,
    needs_data=True,
    examples=(
        "polycopy export --to trades.parquet",
        "polycopy export --since 2024-05-06 --to some.csv",
        "polycopy export --wallet 0xeebde7a0e019a63e6b476eb425505b7b3e6eba30 --to a.csv",
    ),
    page="docs/analysis.md",
)
@click.option(
    "--to",
    required=True,
    metavar="FILE",
    help="The file, *.parquet or *.csv; replaces one of that name.",
)
@click.option(
    "--table",
    type=click.Choice(_TABLES),
    default=TRADES.table,
    show_default=True,
    help="The table to export.",
)
@click.option(
    "--wallet",
    "wallets",
    multiple=True,
    metavar="ADDRESS",
    help="Only this wallet; may be repeated.",
)
@click.option(
    "--since",
    metavar="TIME",
    help="Only rows from this time on: 2024-05-06, or 2024-05-06T07:08:09Z.",
)
def export_command(*, to: str, table: str, wallets: Sequence[str], since: str | None) -> None:
    """Export trades, or another table, to a Parquet or CSV file.

    --table names another feed's table. The file has the columns of the table, and appears when it
    is whole. Its rows are in no particular order: sort by wallet_address, timestamp, sequence. A
    time without a zone is UTC.
    """
    with one_line_errors():
        path = Path(to)
        form = _FORMS.get(path.suffix.lower())
        if form is None:
            raise ConfigurationError(
                f"--to {quoted(to)}: expected a name that ends in .parquet or .csv"
            )
        chosen = Selection(
            [_wallet(each) for each in wallets], None if since is None else _moment(since)
        )
        feed = next(each for each in FEEDS.values() if each.table == table)
        with _whole(path) as partial:
            rows = open_warehouse(settings(), "export").reader.export(feed, chosen, form, partial)
        size = counted(path.stat().st_size, "byte")
        say(f"{counted(rows, feed.row, feed.rows)} in {path}, {size}")


def _wallet(text: str) -> str:
    try:
        return parse_wallet(text)
    except InvalidWallet as error:
        raise ConfigurationError(f"--wallet: {error}") from error


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"--since {quoted(text)}: expected a day or a time, such as 2024-05-06 or"
            " 2024-05-06T07:08:09Z"
        ) from error


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file to write to beside `path`, which becomes `path` in one step when it is whole.

    A link stays, and what it leads to is replaced.
    """
    try:
        if path.is_dir():
            raise ConfigurationError(f"--to {quoted(path)} is a directory")
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"--to {quoted(path)} is not a file")
        target = _followed(path)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            partial = Path(folder) / target.name
            yield partial
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(target)
    except OSError as error:
        why = error.strerror or error
        raise ConfigurationError(f"--to {quoted(path)} cannot be written: {why}") from error


def _followed(path: Path) -> Path:
    """What a link leads to in the end; `path` itself if it is none. Raises OSError for a ring."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target
