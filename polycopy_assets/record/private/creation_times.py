"""When the keys of a dynamic partitions definition were added.

Private: Dagster keeps the time in `DynamicPartitionsTable` and has no method that returns it.
Pinned by `dagster/test_checks.py`.
"""

from datetime import UTC

import dagster as dg
from dagster._core.storage.event_log.schema import DynamicPartitionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import select

from polycopy_assets.errors import PolycopyError


def creation_times(instance: dg.DagsterInstance, definition: str) -> dict[str, float]:
    """When each key of `definition` was added, epoch seconds."""
    wanted = select(DynamicPartitionsTable.c.partition, DynamicPartitionsTable.c.create_timestamp)
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise PolycopyError(f"{type(storage).__name__} does not say when a wallet was registered")
    with storage.index_connection() as connection:
        rows = connection.execute(
            wanted.where(DynamicPartitionsTable.c.partitions_def_name == definition)
        ).fetchall()
    return {key: moment.replace(tzinfo=UTC).timestamp() for key, moment in rows}
