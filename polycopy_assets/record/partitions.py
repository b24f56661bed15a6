"""The partitions `wallets`: which keys exist, and which are valid.

A key is what `parse_wallet` returns: lower case, `0x` and 40 hexadecimal digits.
"""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from polycopy_assets.record.private.creation_times import creation_times, set_creation_times
from polycopy_assets.trades.wallet import ADDRESS, sort_out

IN_PARTITIONS = " among the partitions"
"""Where the texts of `invalid_keys` were found, for `refusals`."""

_CHUNK = 5_000

wallets_partitions = dg.DynamicPartitionsDefinition(name="wallets")


def register(
    instance: dg.DagsterInstance, texts: Iterable[str | None]
) -> tuple[list[str], list[str]]:
    """Adds partitions for the wallets that have none; returns (new wallets, refused texts).

    A deleted key that is added again has its old history.
    """
    wallets, refused = sort_out(texts)
    existing = set(registered(instance))
    new = [wallet for wallet in wallets if wallet not in existing]
    for start in range(0, len(new), _CHUNK):
        instance.add_dynamic_partitions(str(wallets_partitions.name), new[start : start + _CHUNK])
    return new, refused


def unregister(instance: dg.DagsterInstance, wallets: Iterable[str]) -> list[str]:
    """Deletes the partitions of `wallets`; returns those that had one. Their events stay."""
    existing = set(registered(instance))
    gone = [wallet for wallet in wallets if wallet in existing]
    for wallet in gone:
        instance.delete_dynamic_partition(str(wallets_partitions.name), wallet)
    return gone


def registered_at(instance: dg.DagsterInstance) -> dict[str, float]:
    """When each key was registered, epoch seconds."""
    return creation_times(instance, str(wallets_partitions.name))


def set_registered_at(instance: dg.DagsterInstance, times: Mapping[str, float]) -> None:
    """Notes when keys that exist were registered, epoch seconds."""
    set_creation_times(instance, str(wallets_partitions.name), times)


def registered(instance: dg.DagsterInstance) -> list[str]:
    """The partition keys that are wallets, in order of registration."""
    return wallets_and_others(_keys(instance))[0]


def invalid_keys(instance: dg.DagsterInstance) -> list[str]:
    """The partition keys that are not wallets: in the UI, anyone can add a partition."""
    return wallets_and_others(_keys(instance))[1]


def wallets_and_others(keys: Iterable[str]) -> tuple[list[str], list[str]]:
    """The `keys` that are wallets, and those that are not; a key with capital letters is not."""
    wallets, others = [], []
    for key in keys:
        (wallets if ADDRESS.fullmatch(key) else others).append(key)
    return wallets, others


def _keys(instance: dg.DagsterInstance) -> Sequence[str]:
    return instance.get_dynamic_partitions(str(wallets_partitions.name))
