"""Reads and deletes single events of Dagster's event log, by their ids.

The public `instance.delete_run` deletes all events of a run, and so also the record of each wallet
that was last fetched in it. `wipe_asset_partitions` is not implemented for SQLite and Postgres, and
nothing public deletes single events, the history of a check, or events that belong to no run.

Every statement is a short transaction over one page. A page is compared with the latest events at
the time it is deleted, and an event that is superseded stays so.

Private: `SqlEventLogStorageTable`, `AssetEventTagsTable`, `AssetCheckExecutionsTable` and the
connections of the storages have no public name. Pinned by `dagster/test_retention.py`.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import dagster as dg
from dagster import DagsterEventType
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy import ColumnElement, func, or_, select

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.record.private.database import event_log

PAGE = 500
NO_RUN = ""
"""The run of an event that belongs to none."""

MATERIALIZATION = DagsterEventType.ASSET_MATERIALIZATION.value
OBSERVATION = DagsterEventType.ASSET_OBSERVATION.value
PLANNED = DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value

_events = SqlEventLogStorageTable.c
_checks = AssetCheckExecutionsTable.c


class StoredEvent(NamedTuple):
    """An event without its content: `asset` is an asset key as Dagster stores it; `at` in UTC."""

    id: int
    kind: str
    asset: str | None
    partition: str | None
    at: datetime


class StoredCheck(NamedTuple):
    """One execution of a check, and the id of the event with its result."""

    id: int
    asset: str
    name: str
    partition: str | None
    status: str
    event_id: int | None


class StoredEvents:
    """The event log of `instance`. Raises ConfigurationError if it is not kept in SQL."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        storage = event_log(instance)
        if not isinstance(storage, SqlEventLogStorage):
            raise ConfigurationError(f"{type(storage).__name__} cannot delete single events")
        self._storage = storage

    def of_run(self, run_id: str) -> Iterator[list[StoredEvent]]:
        """The events of a run, or of none (`NO_RUN`), oldest first, in pages."""
        wanted = select(
            _events.id,
            _events.dagster_event_type,
            _events.asset_key,
            _events.partition,
            _events.timestamp,
        ).where(_events.run_id == run_id)
        last = 0
        while True:
            page = wanted.where(_events.id > last).order_by(_events.id).limit(PAGE)
            with self._storage.index_connection() as connection:
                rows = connection.execute(page).fetchall()
            if not rows:
                return
            yield [StoredEvent(row[0], row[1] or "", *row[2:]) for row in rows]
            last = rows[-1][0]

    def run_ids(self) -> Iterator[str]:
        """The runs that have events, by reading one row of each."""
        last = NO_RUN
        while True:
            after = select(func.min(_events.run_id)).where(_events.run_id > last)
            with self._storage.index_connection() as connection:
                found = connection.execute(after).scalar()
            if found is None:
                return
            yield found
            last = found

    def latest_by_partition(
        self, asset: str, kinds: Collection[str], partitions: Collection[str | None]
    ) -> dict[tuple[str, str | None], int]:
        """The id of the latest event of each kind for each of at most `PAGE` partitions."""
        named = [partition for partition in partitions if partition is not None]
        where: list[ColumnElement[bool]] = []
        if named:
            where.append(_events.partition.in_(named))
        if None in partitions:
            where.append(_events.partition.is_(None))
        wanted = (
            select(_events.dagster_event_type, _events.partition, func.max(_events.id))
            .where(_events.asset_key == asset, _events.dagster_event_type.in_(list(kinds)))
            .where(or_(*where))
            .group_by(_events.dagster_event_type, _events.partition)
        )
        with self._storage.index_connection() as connection:
            rows = connection.execute(wanted).fetchall()
        return {(kind, partition): number for kind, partition, number in rows}

    def latest_of_kind(self, asset: str, kinds: Collection[str]) -> set[int]:
        """The id of the asset's latest event of each kind."""
        found = set()
        for kind in kinds:
            wanted = select(func.max(_events.id)).where(
                _events.asset_key == asset, _events.dagster_event_type == kind
            )
            with self._storage.index_connection() as connection:
                found.add(connection.execute(wanted).scalar())
        return found

    def checks_of_run(self, run_id: str) -> list[StoredCheck]:
        """What a run has noted about checks."""
        wanted = select(
            _checks.id,
            _checks.asset_key,
            _checks.check_name,
            _checks.partition,
            _checks.execution_status,
            _checks.evaluation_event_storage_id,
        ).where(_checks.run_id == run_id)
        with self._storage.index_connection() as connection:
            return [StoredCheck(*row) for row in connection.execute(wanted).fetchall()]

    def latest_checks(self) -> set[int]:
        """The ids of the latest execution of each check and partition, for each status."""
        wanted = select(func.max(_checks.id)).group_by(
            _checks.asset_key, _checks.check_name, _checks.partition, _checks.execution_status
        )
        with self._storage.index_connection() as connection:
            return {row[0] for row in connection.execute(wanted).fetchall()}

    def delete(self, ids: Sequence[int]) -> None:
        """Deletes events, at most a page, with their tags; no error if one is gone."""
        if ids:
            with self._storage.index_connection() as connection:
                connection.execute(
                    AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(ids))
                )
                connection.execute(SqlEventLogStorageTable.delete().where(_events.id.in_(ids)))

    def delete_checks(self, ids: Sequence[int]) -> None:
        """Deletes executions of checks."""
        for start in range(0, len(ids), PAGE):
            page = ids[start : start + PAGE]
            with self._storage.index_connection() as connection:
                connection.execute(AssetCheckExecutionsTable.delete().where(_checks.id.in_(page)))

    def run_file(self, run_id: str) -> Path | None:
        """The file with a run's own log; None if the instance keeps no such files."""
        if not isinstance(self._storage, SqliteEventLogStorage):
            return None
        return Path(self._storage.path_for_shard(run_id))
