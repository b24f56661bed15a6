"""The locks of a Dagster instance: they are kept where its database is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from polycopy_assets.guard.lease import Lease
from polycopy_assets.guard.lock import FileLocks, Holder, Lock, Locks
from polycopy_assets.record.private.database import postgres_url

FOLDER = "locks"

_LEASES: dict[str, Lease] = {}


def instance_locks(instance: dg.DagsterInstance) -> Locks:
    """Files in DAGSTER_HOME; for an instance in Postgres, that database.

    Raises ConfigurationError if the instance is kept anywhere else, where no lock is possible.
    """
    if url := postgres_url(instance):
        from polycopy_assets.guard.postgres_lock import PostgresLocks  # noqa: PLC0415 - optional

        return PostgresLocks(url)
    files = FileLocks(Path(instance.root_directory) / FOLDER)
    lease = _LEASES.get(instance.root_directory)
    return _UnderLease(files, lease) if lease else files


@contextmanager
def under_lease(instance: dg.DagsterInstance, lease: Lease) -> Iterator[None]:
    """Has every lock of `instance` count as lost when `lease` is lost."""
    _LEASES[instance.root_directory] = lease
    try:
        yield
    finally:
        del _LEASES[instance.root_directory]


class _UnderLease:
    """Locks of one process, which works only while it holds the lock in the store."""

    def __init__(self, locks: Locks, lease: Lease) -> None:
        self._locks = locks
        self._lease = lease

    def try_acquire(self, name: str, holder: Holder) -> Lock | None:
        lock = self._locks.try_acquire(name, holder)
        return lock and _Both(lock, self._lease)

    def holder(self, name: str) -> Holder | None:
        return self._locks.holder(name)

    def now(self) -> float:
        return self._locks.now()


class _Both:
    def __init__(self, lock: Lock, lease: Lease) -> None:
        self._lock = lock
        self._lease = lease

    def check(self) -> None:
        self._lease.check()
        self._lock.check()

    def release(self) -> None:
        self._lock.release()
