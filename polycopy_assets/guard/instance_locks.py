"""The locks of a Dagster instance: they are kept where its database is."""

from pathlib import Path

import dagster as dg

from polycopy_assets.guard.lock import FileLocks, Locks
from polycopy_assets.record.private.database import postgres_url

FOLDER = "locks"


def instance_locks(instance: dg.DagsterInstance) -> Locks:
    """Files in DAGSTER_HOME; for an instance in Postgres, that database.

    Raises ConfigurationError if the instance is kept anywhere else, where no lock is possible.
    """
    if url := postgres_url(instance):
        from polycopy_assets.guard.postgres_lock import PostgresLocks  # noqa: PLC0415 - optional

        return PostgresLocks(url)
    return FileLocks(Path(instance.root_directory) / FOLDER)
