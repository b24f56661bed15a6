"""Postgres connections that stay open, whatever `dagster.yaml` says.

Dagster opens a new connection for each statement; `instance.optimize_for_webserver` keeps them, but
ends every statement that takes longer than a limit, and checks none before it is used. Here a
connection is checked before each use, so that a restart of the server is not noticed by a run.

Private: the engine of a storage has no public name (`PostgresEventLogStorage._engine`), and a
`storage:` of `dagster.yaml` may wrap its parts (`LegacyRunStorage._storage`). Pinned by
`dagster/test_instance_in_postgres.py`.
"""

from collections.abc import Iterable
from typing import Any

import dagster as dg
from sqlalchemy import Engine
from sqlalchemy.pool import NullPool, QueuePool

from polycopy_assets.record.private.database import event_log, postgres_url

CONNECT_SECONDS = 10
_KEPT = 2
"""Idle connections of a process. More are opened if more are needed at once, and closed after."""

_RECYCLE_SECONDS = 1800
_SILENT_MILLISECONDS = 60_000
"""How long the network may swallow what was sent before a connection counts as lost."""

_OPTIONS = {
    "connect_timeout": CONNECT_SECONDS,
    "tcp_user_timeout": _SILENT_MILLISECONDS,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


def pool(instance: dg.DagsterInstance) -> None:
    """Has the storages of an instance in Postgres keep their connections; others stay as is."""
    if postgres_url(instance) is None:
        return
    parts = (instance.run_storage, instance.schedule_storage)
    keep_connections((event_log(instance), *filter(None, map(_unwrapped, parts))))


def unpool(instance: dg.DagsterInstance) -> None:
    """Closes the connections that are kept."""
    if postgres_url(instance) is not None:
        event_log(instance)._engine.dispose()  # type: ignore[attr-defined]  # noqa: SLF001


def keep_connections(storages: Iterable[Any]) -> None:
    """Has the storages of one database share an engine that keeps its connections.

    One that keeps them already, as the webserver's does, is left alone.
    """
    from dagster_postgres.utils import create_pg_engine  # noqa: PLC0415 - optional

    shared: Engine | None = None
    for storage in storages:
        if not isinstance(storage._engine.pool, NullPool):  # noqa: SLF001
            continue
        if shared is None:
            shared = create_pg_engine(
                storage.postgres_url,
                storage._token_provider,  # noqa: SLF001
                isolation_level="AUTOCOMMIT",
                poolclass=QueuePool,
                pool_size=_KEPT,
                pool_use_lifo=True,
                max_overflow=-1,
                pool_pre_ping=True,
                pool_recycle=_RECYCLE_SECONDS,
                connect_args=_OPTIONS,
            )
        storage._engine = shared  # noqa: SLF001


def _unwrapped(storage: Any) -> Any:
    """The storage itself, without what Dagster wraps around it; None if it is not in Postgres."""
    whole = getattr(storage, "_storage", None)
    if whole is not None:
        name = "run_storage" if hasattr(storage, "get_run_records") else "schedule_storage"
        storage = getattr(whole, name)
    return storage if hasattr(storage, "postgres_url") else None
