"""`polycopy init`: prepares the Dagster home."""

import click

from polycopy_assets.cli.common import Command, one_line_errors, say
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.usable import accepted, accepted_table
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings.environment import settings


@click.command(
    "init",
    cls=Command,
    examples=(
        "polycopy init",
        "polycopy init --accept-store",
    ),
)
@click.option(
    "--accept-store",
    is_flag=True,
    help="From now on, use the store in POLYCOPY_STORE. For use after the store has moved.",
)
@click.option(
    "--accept-table",
    is_flag=True,
    help="Use the table in POLYCOPY_WAREHOUSE for this store. The next backfill loads everything "
    "into it again.",
)
def init_command(*, accept_store: bool, accept_table: bool) -> None:
    """Prepare DAGSTER_HOME before several processes use it."""
    with one_line_errors():
        chosen = settings()
        with open_instance(chosen, Needs.NOTHING) as instance:
            if accept_store and chosen.instance == "ephemeral":
                raise ConfigurationError(
                    "--accept-store is for an instance that is kept. With POLYCOPY_INSTANCE="
                    "ephemeral only the table knows a store's id: use --accept-table"
                )
            if accept_store:
                say(accepted(instance, chosen))
            if accept_table:
                say(accepted_table(instance, chosen))
            if chosen.instance != "ephemeral":
                click.echo(chosen.home)
