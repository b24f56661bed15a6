"""When the keys of a dynamic partitions definition were added.

Private: Dagster keeps the time in `DynamicPartitionsTable` and has no method that returns or sets
it.
Pinned by `dagster/test_checks.py`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.event_log.schema import DynamicPartitionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from sqlalchemy import bindparam, select

from polycopy_assets.errors import PolycopyError


def creation_times(instance: dg.DagsterInstance, definition: str) -> dict[str, float]:
    """When each key of `definition` was added, epoch seconds."""
    wanted = select(DynamicPartitionsTable.c.partition, DynamicPartitionsTable.c.create_timestamp)
    with _storage(instance).index_connection() as connection:
        rows = connection.execute(
            wanted.where(DynamicPartitionsTable.c.partitions_def_name == definition)
        ).fetchall()
    return {key: moment.replace(tzinfo=UTC).timestamp() for key, moment in rows}


def set_creation_times(
    instance: dg.DagsterInstance, definition: str, times: Mapping[str, float]
) -> None:
    """Notes that the keys of `definition` were added at `times`, epoch seconds."""
    if not times:
        return
    table = DynamicPartitionsTable
    statement = (
        table.update()
        .where(table.c.partitions_def_name == definition, table.c.partition == bindparam("key"))
        .values(create_timestamp=bindparam("moment"))
    )
    rows = [
        {"key": key, "moment": datetime.fromtimestamp(at, UTC).replace(tzinfo=None)}
        for key, at in times.items()
    ]
    with _storage(instance).index_connection() as connection:
        connection.execute(statement, rows)


def _storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise PolycopyError(f"{type(storage).__name__} does not say when a wallet was registered")
    return storage
