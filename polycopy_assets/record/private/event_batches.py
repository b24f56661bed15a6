"""Stores many materializations in one transaction for each database file.

Dagster has a batch of its own (`DAGSTER_EVENT_BATCH_SIZE`), which is not used here: it is switched
on by a variable of the whole process; `SqliteEventLogStorage`, and any storage configured under
`storage:` in `dagster.yaml`, still write the events one by one; on Postgres the events are
committed before their tags; and after an error Dagster writes all of them again.

On SQLite the events go to the run's file first, and then to the index, which is the record. A
process killed in between leaves events that only the run's log has, as it does with single events.
On Postgres all of it is one transaction.

Private: the statements for an event, its tags and the asset's latest event, and the table, have no
public name. Pinned by `dagster/test_run_events.py`.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster import EventLogEntry
from dagster._core.storage.event_log import (
    EventLogStorage,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)
from sqlalchemy import Connection


def store_batch(storage: EventLogStorage, events: Sequence[EventLogEntry]) -> None:
    """Stores materializations of one run, or of none, in their order: all of them or none."""
    if not events:
        return
    if not isinstance(storage, SqlEventLogStorage):
        storage.store_event_batch(events)
        return
    (run_id,) = {event.run_id for event in events}
    rows = [storage._event_to_row(event) for event in events]  # noqa: SLF001
    if isinstance(storage, SqliteEventLogStorage):
        with storage.run_connection(run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
    with storage.index_transaction() as connection:
        ids = _insert(connection, rows)
        storage._store_asset_event_tags(connection, events, ids)  # noqa: SLF001
        # As for single events, the latest one of an asset is also kept beside its key.
        latest = {_asset(event): (event, number) for event, number in zip(events, ids, strict=True)}
        for event, number in latest.values():
            storage._store_asset_event(connection, event, number)  # noqa: SLF001


def _insert(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Inserts the rows; returns their ids in the same order."""
    table = SqlEventLogStorageTable
    statement = table.insert().returning(table.c.id, sort_by_parameter_order=True)
    return [int(number) for (number,) in connection.execute(statement, rows)]


def _asset(event: EventLogEntry) -> dg.AssetKey | None:
    return event.dagster_event.asset_key if event.dagster_event else None
