"""The `polycopy` command: one file a command."""

import click

from polycopy_assets.cli.backfill import backfill_command
from polycopy_assets.cli.common import Group
from polycopy_assets.cli.demo import demo_command
from polycopy_assets.cli.init import init_command
from polycopy_assets.cli.reconcile_command import reconcile_command
from polycopy_assets.cli.status import status_command
from polycopy_assets.cli.wallets import wallets


@click.group(cls=Group)
@click.version_option(package_name="polycopy-assets")
def polycopy() -> None:
    """Every trade of every wanted Polymarket wallet, once, in one table."""


for command in (
    backfill_command,
    demo_command,
    init_command,
    reconcile_command,
    status_command,
    wallets,
):
    polycopy.add_command(command)
