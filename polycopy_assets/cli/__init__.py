"""The `polycopy` command: one file a command, imported when that command is called.

Dagster alone takes most of a second to import. So `polycopy --help` and a mistyped command must do
without the commands: their help lines stand here, and a test compares them with the commands' own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any

import click

from polycopy_assets.cli.help import Documented
from polycopy_assets.system.output import end_by_sigpipe, reader_has_gone
from polycopy_assets.system.version import VERSION


class Later(click.Command):
    """Stands for a command that is not imported yet; `source` is `module:name` below `cli`."""

    def __init__(self, name: str, source: str, line: str) -> None:
        super().__init__(name, help=line)
        self._source = source

    def load(self) -> click.Command:
        """The command itself."""
        return resolve_name(f"{__name__}.{self._source}")


@contextmanager
def _until_the_reader_goes() -> Iterator[None]:
    """Ends the process if `head`, or whatever reads the output, has seen enough.

    Else click ends it with 1, which says of a backfill that a wallet has failed. Raises OSError if
    it was another pipe that broke.
    """
    try:
        yield
    except BrokenPipeError as error:
        if reader_has_gone():
            end_by_sigpipe()
        # Without its number, or click would end in silence.
        raise OSError(f"a connection broke: {error.strerror}") from error


class Commands(Documented, click.Group):
    """A group of commands that are imported when they are called."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Reads the arguments; `--help` and `--version` print as that happens."""
        with _until_the_reader_goes():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that the arguments name."""
        with _until_the_reader_goes():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` begin with, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, Later) else command, rest


@click.group(
    cls=Commands,
    commands=[
        Later(
            "backfill",
            "backfill:backfill_command",
            "Fetch every wallet that is not complete, combine, and load.",
        ),
        Later(
            "completion",
            "completion:completion_command",
            "Print the completion script of a shell.",
        ),
        Later(
            "demo",
            "demo:demo_command",
            "Run the whole pipeline offline, on the built-in sample API.",
        ),
        Later("dev", "dev:dev_command", "Open Dagster's UI, and start its daemon."),
        Later(
            "export",
            "export:export_command",
            "Export trades, or another table, to a Parquet or CSV file.",
        ),
        Later("init", "init:init_command", "Prepare DAGSTER_HOME before several processes use it."),
        Later(
            "maintain",
            "maintain:maintain_command",
            "Delete old runs, events and ticks that no longer count.",
        ),
        Later(
            "markets",
            "markets:markets_command",
            "Update the tables of tokens and markets.",
        ),
        Later(
            "query",
            "query:query_command",
            "Ask the tables a question in SQL, and change nothing.",
        ),
        Later(
            "reconcile",
            "reconcile_command:reconcile_command",
            "Compare record, store, checkpoint and table, wallet by wallet.",
        ),
        Later("status", "status:status_command", "Count wallets, trades and table rows."),
        Later("wallets", "wallets:wallets", "Manage the wallets to collect."),
    ],
    examples=(
        "polycopy demo",
        "polycopy wallets add 0xeebde7a0e019a63e6b476eb425505b7b3e6eba30",
        "polycopy backfill",
    ),
    page="docs/install.md",
)
@click.version_option(VERSION)
def polycopy() -> None:
    """Every trade of every wanted Polymarket wallet, once, in one table."""
