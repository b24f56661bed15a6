"""`polycopy wallets remove`: stops collecting wallets, and deletes their trades if asked to."""

import sys
from collections.abc import Sequence

import click

from polycopy_assets.cli.common import Command, one_line_errors, say
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.usable import check_usable
from polycopy_assets.cli.wallet_list import given_wallets
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.record.wanted import Removed, retire
from polycopy_assets.resources.chosen import open_store, open_warehouse
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.store.base import Store
from polycopy_assets.store.wanted import read_wanted
from polycopy_assets.text import counted, first_lines
from polycopy_assets.trades.wallet import refusals
from polycopy_assets.trades.wanted import State

_NAMED = 10


@click.command(
    "remove",
    cls=Command,
    needs_data=True,
    examples=(
        "polycopy wallets remove 0xeebde7a0e019a63e6b476eb425505b7b3e6eba30",
        "polycopy wallets remove --purge",
    ),
)
@click.argument("addresses", nargs=-1)
@click.option(
    "--purge",
    is_flag=True,
    help="Also delete what was collected of them: segments and table rows, of every feed.",
)
def remove(addresses: Sequence[str], *, purge: bool) -> None:
    """Stop collecting wallets; what was collected stays, unless --purge.

    Takes them out of `traders` and the partitions. `polycopy wallets add` collects them again, and
    continues where it was. With --purge all that was collected of them is deleted; it may be
    interrupted, and without an address it continues with what is left. Exit code 2 if an address
    was refused, or nothing is known of it.
    """
    with one_line_errors():
        good, refused = given_wallets(addresses)
        if not addresses and not purge:
            raise ConfigurationError("no wallet given: name the addresses")
        chosen = settings()
        found, purged = remove_wallets(chosen, good, purge=purge)
    for line in (*refusals(refused), *first_lines(found.unknown, _NAMED, "unknown: ")):
        say(line)
    click.echo(
        f"{len(found.removed):,} removed, {len(found.before):,} removed before,"
        f" {len(found.unknown):,} unknown, {len(refused):,} refused"
        + (f"; what was collected of {counted(purged, 'wallet')} is deleted" if purge else "")
    )
    sys.exit(2 if refused or found.unknown else 0)


def remove_wallets(chosen: Settings, wallets: Sequence[str], *, purge: bool) -> tuple[Removed, int]:
    """Stops collecting `wallets`; with `purge` deletes their trades, and those of earlier purges.

    Returns what was found, and how many wallets were purged now.
    """
    with open_instance(chosen, Needs.WORK if purge else Needs.NOTHING) as instance:
        check_usable(instance, chosen)
        store, table = open_store(chosen, instance), open_warehouse(chosen, "traders")
        if purge and (begun := _purging(store)):
            retire(instance, store, table, begun, purge=True)  # a kill may have left a row
        found = retire(instance, store, table, wallets, purge=purge)
        if not purge:
            return found, 0
        if left := _purging(store):
            # What only loads when it is needed: it imports all of the pipeline.
            from polycopy_assets.cli.purge import purge as purge_all  # noqa: PLC0415

            return found, len(purge_all(instance, chosen, left, say))
    return found, 0


def _purging(store: Store) -> list[str]:
    """The wallets whose trades are to be deleted."""
    states = read_wanted(store).retired
    return sorted(wallet for wallet, state in states.items() if state is State.PURGING)
