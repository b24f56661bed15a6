"""The `polycopy` command: one file a command, imported when that command is called.

Dagster alone takes most of a second to import. So `polycopy --help` and a mistyped command must do
without the commands: their help lines stand here, and a test compares them with the commands' own.
"""

from pkgutil import resolve_name

import click

from polycopy_assets.cli.help import Documented
from polycopy_assets.system.version import VERSION


class Later(click.Command):
    """Stands for a command that is not imported yet; `source` is `module:name` below `cli`."""

    def __init__(self, name: str, source: str, line: str) -> None:
        super().__init__(name, help=line)
        self._source = source

    def load(self) -> click.Command:
        """The command itself."""
        return resolve_name(f"{__name__}.{self._source}")


class Commands(Documented, click.Group):
    """A group of commands that are imported when they are called."""

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
        Later("export", "export:export_command", "Export trades to a Parquet or CSV file."),
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
