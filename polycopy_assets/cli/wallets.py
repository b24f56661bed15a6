"""`polycopy wallets`: the wallets to collect."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click

from polycopy_assets.cli.common import Group, one_line_errors, say
from polycopy_assets.cli.discover import discover_command
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.usable import check_usable
from polycopy_assets.cli.wallet_list import (
    MOST_BYTES,
    NO_LIST,
    addresses_in,
    list_refusals,
    read_list,
)
from polycopy_assets.cli.wallets_list import list_command
from polycopy_assets.cli.wallets_remove import remove
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.record.wanted import want
from polycopy_assets.resources.chosen import open_store, open_warehouse
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.trades.wallet import refusals, sort_out


@click.group(
    cls=Group,
    examples=(
        "polycopy wallets add -f my-wallets.txt",
        "polycopy wallets list",
    ),
)
def wallets() -> None:
    """Manage the wallets to collect."""


wallets.add_command(list_command)
wallets.add_command(remove)


@wallets.command(
    examples=(
        "polycopy wallets add 0xeebde7a0e019a63e6b476eb425505b7b3e6eba30",
        "polycopy wallets add -f my-wallets.txt",
    ),
)
@click.argument("addresses", nargs=-1)
@click.option(
    "-f", "--file", type=click.File("rb"), help="A file with one address per line; - is stdin."
)
def add(addresses: Sequence[str], file: BinaryIO | None) -> None:
    """Add wallets to the table `traders`.

    Addresses may be in any case. Known wallets are skipped. Exit code 2 if an address was refused.
    """
    with one_line_errors():
        name = Path(file.name).name if file else ""
        listed = read_list(file.read(MOST_BYTES + 1), name) if file else NO_LIST
        given = [found[0] if len(found := addresses_in(text)) == 1 else text for text in addresses]
        good, refused = sort_out([*given, *listed.addresses])
        count = len(refused) + len(listed.refused)
        if not good and not count:
            why = ["no wallet given: name addresses, or a file with -f"]
            if file:
                why = [f"{name} holds no address: expected one on each line"]
            raise ConfigurationError("; ".join([*why, *list_refusals(listed, name)]))
        # Nothing begins a place by mistake: a typing error in the wrong directory, for instance.
        added = add_wallets(settings(), good) if good else 0
    for line in (*refusals(refused), *list_refusals(listed, name)):
        say(line)
    click.echo(f"{added} added, {len(good) - added} known already, {count} refused")
    sys.exit(2 if count else 0)


def add_wallets(chosen: Settings, wallets: Sequence[str], *, removed: bool = True) -> int:
    """Adds wallets to `traders`, to the store's list and to the partitions.

    With `removed` False those that were removed stay removed. Returns how many were new in
    `traders`.
    """
    with open_instance(chosen, Needs.NOTHING) as instance:
        check_usable(instance, chosen)
        store, table = open_store(chosen, instance), open_warehouse(chosen, "traders")
        return want(instance, store, table, wallets, removed=removed)


wallets.add_command(discover_command(partial(add_wallets, removed=False)))
