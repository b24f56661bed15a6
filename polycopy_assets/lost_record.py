"""Dagster's record that is gone though what was made from it is still there.

Somebody tidied `DAGSTER_HOME`, restored it, or it names another directory. Nothing of the store
is asked for again then, but every wallet would be asked for what is new; and counts of an empty
record are no answer. So it is said, and nothing is fetched before the record is rebuilt.
"""

import os

import dagster as dg
from dagster import DagsterEventType

from polycopy_assets.errors import PolycopyError
from polycopy_assets.record import WALLET_TRADES
from polycopy_assets.store.base import Store
from polycopy_assets.trades.batch import MANIFESTS, parse_manifest_name
from polycopy_assets.trades.segment import PREFIX, parse_name

_REBUILD = (
    "Run `polycopy reconcile --apply`: it rebuilds the record from the store and asks the source"
    " for nothing that is there"
)


def is_empty(instance: dg.DagsterInstance) -> bool:
    """Whether no wallet was ever recorded here."""
    return not instance.event_log_storage.get_latest_storage_id_by_partition(
        WALLET_TRADES, DagsterEventType.ASSET_MATERIALIZATION
    )


def refuse_lost_record(instance: dg.DagsterInstance, store: Store) -> None:
    """Raises PolycopyError if nothing is recorded, and the store holds batches made of a record."""
    if is_empty(instance) and _has_batches(store):
        raise PolycopyError(
            f"nothing was fetched: {_lost()}, but {store.uri(MANIFESTS)} holds batches that were"
            f" made from it. {_REBUILD}. Then start this again"
        )


def warning(instance: dg.DagsterInstance, store: Store, rows: int) -> str:
    """What is wrong with an empty record, in one line; an empty text if nothing is.

    `rows` are in the table. Lists the store only if the record is empty.
    """
    if not is_empty(instance):
        return ""
    if _has_batches(store):
        return (
            f"{_lost()}, but {store.uri(MANIFESTS)} holds batches, and the table {rows:,} rows."
            f" {_REBUILD}"
        )
    if _has_segments(store):
        return (
            f"{_lost()}, but {store.uri(PREFIX)} holds segments. If a first fetch was killed,"
            f" `polycopy backfill` goes on with it. If the record is lost: {_REBUILD}"
        )
    if rows:
        return (
            f"{_lost()}, and so is the store, but the table holds {rows:,} rows. If an older job"
            " wrote them, all is well; otherwise check DAGSTER_HOME and POLYCOPY_STORE"
        )
    return ""


def _lost() -> str:
    return f"Dagster's record in DAGSTER_HOME={os.environ.get('DAGSTER_HOME')!r} is empty"


def _has_batches(store: Store) -> bool:
    return any(parse_manifest_name(item.name) is not None for item in store.list(MANIFESTS))


def _has_segments(store: Store) -> bool:
    return any(parse_name(item.name) is not None for item in store.list(PREFIX))
