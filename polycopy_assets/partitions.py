"""The `wallets` partitions: which keys there are, and what a valid key is.

A key is what `parse_wallet` returns: lower case, `0x` and 40 hexadecimal digits.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC

import dagster as dg
from dagster._core.storage.event_log.schema import DynamicPartitionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import select

from polycopy_assets.errors import PolycopyError
from polycopy_assets.trades.wallet import ADDRESS, sort_out

STRAY = " among the partitions"
"""Where the texts were found that `strays` gives, for `refusals`."""

_CHUNK = 5_000

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
    for start in range(0, len(new), _CHUNK):
        instance.add_dynamic_partitions(str(wallets_partitions.name), new[start : start + _CHUNK])
    return new, refused


def registered_at(instance: dg.DagsterInstance) -> dict[str, float]:
    """When each key was registered, epoch seconds.

    Dagster keeps the time and has no method that tells it; a test pins its table.
    """
    wanted = select(DynamicPartitionsTable.c.partition, DynamicPartitionsTable.c.create_timestamp)
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise PolycopyError(f"{type(storage).__name__} does not tell when a wallet was registered")
    with storage.index_connection() as connection:
        rows = connection.execute(
            wanted.where(DynamicPartitionsTable.c.partitions_def_name == wallets_partitions.name)
        ).fetchall()
    return {key: moment.replace(tzinfo=UTC).timestamp() for key, moment in rows}


def registered(instance: dg.DagsterInstance) -> list[str]:
    """The partition keys that are wallets, in order of registration."""
    return told_apart(_keys(instance))[0]


def strays(instance: dg.DagsterInstance) -> list[str]:
    """The partition keys that are no wallets: anybody can add a partition in the UI."""
    return told_apart(_keys(instance))[1]


def told_apart(keys: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of `keys` that are wallets, and those that are not; one in upper case is not."""
    wallets, others = [], []
    for key in keys:
        (wallets if ADDRESS.fullmatch(key) else others).append(key)
    return wallets, others


def _keys(instance: dg.DagsterInstance) -> Sequence[str]:
    return instance.get_dynamic_partitions(str(wallets_partitions.name))
