"""The command that every nightly job starts."""

from typing import Any

import click

from polycopy_assets.cli.backfill import backfill_command


def command_line(args: list[str]) -> dict[str, Any]:
    """What `polycopy` makes of the arguments of its command `backfill`."""
    assert args[0] == "backfill"
    with click.Context(backfill_command) as context:
        backfill_command.parse_args(context, args[1:])
        return context.params
