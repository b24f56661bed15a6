"""The `wallets` partitions: which keys there are, and what a valid key is.

A key is what `parse_wallet` returns: lower case, `0x` and 40 hexadecimal digits.
"""

from collections.abc import Iterable

import dagster as dg

from polycopy_assets.trades.wallet import sort_out

wallets_partitions = dg.DynamicPartitionsDefinition(name="wallets")


def register(
    instance: dg.DagsterInstance, texts: Iterable[str | None]
) -> tuple[list[str], list[str]]:
    """Makes partitions of the wallets that are none yet; (new wallets, refused texts).

    Keys are only ever added: a deleted key that comes back brings its old history along.
    """
    wallets, refused = sort_out(texts)
    existing = set(registered(instance))
    new = [wallet for wallet in wallets if wallet not in existing]
    if new:
        instance.add_dynamic_partitions(str(wallets_partitions.name), new)
    return new, refused


def registered(instance: dg.DagsterInstance) -> list[str]:
    """All partition keys, in order of registration."""
    return list(instance.get_dynamic_partitions(str(wallets_partitions.name)))
