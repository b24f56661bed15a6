"""Where a Dagster instance keeps its record: in files of this machine, or in Postgres.

Private: an instance whose `dagster.yaml` has a `storage` wraps its event log
(`LegacyEventLogStorage._storage`), and nothing public gives the database's URL. Pinned by
`crash/test_on_postgres.py`.
"""

import dagster as dg
from dagster._core.storage.event_log import (
    ConsolidatedSqliteEventLogStorage,
    EventLogStorage,
    InMemoryEventLogStorage,
    SqliteEventLogStorage,
)

from polycopy_assets.errors import ConfigurationError

_IN_FILES = (
    SqliteEventLogStorage,
    ConsolidatedSqliteEventLogStorage,
    InMemoryEventLogStorage,
)


def postgres_url(instance: dg.DagsterInstance) -> str | None:
    """The URL of the instance's Postgres database; None if the instance is kept in files.

    Raises ConfigurationError if it is kept anywhere else.
    """
    storage = event_log(instance)
    url = getattr(storage, "postgres_url", None)
    if isinstance(url, str):
        return url
    if not isinstance(storage, _IN_FILES):
        raise ConfigurationError(
            f"dagster.yaml: {type(storage).__name__} is not supported; use SQLite in DAGSTER_HOME,"
            " or Postgres"
        )
    return None


def event_log(instance: dg.DagsterInstance) -> EventLogStorage:
    """The event log itself, without what Dagster wraps around it."""
    storage = instance.event_log_storage
    whole = getattr(storage, "_storage", None)
    return storage if whole is None else whole.event_log_storage
