"""Locks in Postgres: a session's advisory locks, on a connection used for nothing else.

Postgres frees them when the session ends, whatever ends it: the process, the network, an
administrator. So every check asks the session whether it still holds the lock.

A pooler in transaction mode cannot be used: its clients do not keep their sessions, so that two
hold one lock, and both see it as theirs. `record/postgres.py: connect` refuses it.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from polycopy_assets.errors import LockLost, PolycopyError
from polycopy_assets.guard.lock import Holder, Lock
from polycopy_assets.record.postgres import connect, shown
from polycopy_assets.text import said_by

_PREFIX = "polycopy"
_ANSWER_SECONDS = 10
"""Seconds to wait for an answer before the session counts as lost."""

_LOST_SECONDS = 16
"""Seconds until the server frees the locks of a machine that vanished from the network."""

_PROBE_SECONDS = 2
_PROBES = (_LOST_SECONDS - _ANSWER_SECONDS) // _PROBE_SECONDS

_KEEP_ALIVE = f"""
SET tcp_keepalives_idle = {_ANSWER_SECONDS};
SET tcp_keepalives_interval = {_PROBE_SECONDS};
SET tcp_keepalives_count = {_PROBES};
"""
"""For the server: by default it keeps the locks of a vanished machine for two hours."""

_WITH_IDLE_TIMEOUT = 140_000
"""Servers from this version on can end idle sessions, and a lock's session is idle for hours."""

_NAME_BYTES = 63
"""Bytes of a session's name that Postgres keeps."""

_WORD = 16

_ACQUIRE = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
_HOLDER = """
SELECT locks.pid = pg_backend_pid(), locks.pid, activity.application_name,
  extract(epoch FROM activity.backend_start)::float8
FROM pg_locks AS locks LEFT JOIN pg_stat_activity AS activity USING (pid)
WHERE locks.locktype = 'advisory' AND locks.granted AND locks.objsubid = 1
  AND locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((locks.classid::bigint << 32) | locks.objid::bigint) = hashtextextended(%s, 0)
"""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


class PostgresLocks:
    """Locks in the database at `url`; each holds a connection while it lasts."""

    def __init__(self, url: str) -> None:
        self._url = url

    def try_acquire(self, name: str, holder: Holder) -> Lock | None:
        """The lock, or None if another session holds it."""
        with _failing(self._url):
            session = self._connect(_as_text(holder))
            try:
                acquired = _row(session, _ACQUIRE, _named(name)) == (True,)
            except BaseException:
                session.close()
                raise
        if not acquired:
            session.close()
            return None
        return _SessionLock(session, name)

    def holder(self, name: str) -> Holder | None:
        """Who holds the lock; None if it is free."""
        found = self._ask(_HOLDER, _named(name))
        return _parse(*found[1:]) if found else None

    def now(self) -> float:
        """Epoch seconds, by the server's clock."""
        (now,) = self._ask(_NOW) or (0.0,)
        return now

    def _ask(self, query: str, *parameters: str) -> tuple[Any, ...] | None:
        with _failing(self._url), closing(self._connect(_PREFIX)) as session:
            return _row(session, query, *parameters)

    def _connect(self, application: str) -> Connection:
        session = connect(
            self._url,
            application_name=application,
            connect_timeout=_ANSWER_SECONDS,
            tcp_user_timeout=_ANSWER_SECONDS * 1000,
            keepalives_idle=_ANSWER_SECONDS,
            keepalives_interval=_PROBE_SECONDS,
            keepalives_count=_PROBES,
        )
        with session.cursor() as cursor:
            cursor.execute(_KEEP_ALIVE)
            if session.server_version >= _WITH_IDLE_TIMEOUT:
                cursor.execute("SET idle_session_timeout = 0")
        return session


class _SessionLock:
    def __init__(self, session: Connection, name: str) -> None:
        self._session = session
        self._name = name

    def check(self) -> None:
        try:
            found = _row(self._session, _HOLDER, _named(self._name))
        except psycopg2.Error as error:
            self.release()
            raise LockLost(
                f"the Postgres session that held the lock {self._name} has ended"
                f" ({said_by(error)}): start it again, it continues"
            ) from error
        if found is None or found[0] is not True:
            self.release()
            raise LockLost(f"the Postgres session no longer holds the lock {self._name}")

    def release(self) -> None:
        with suppress(psycopg2.Error):
            self._session.close()


def _row(session: Connection, query: str, *parameters: str) -> tuple[Any, ...] | None:
    with session.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchone()


def _named(name: str) -> str:
    return f"{_PREFIX}/{name}"


def _as_text(holder: Holder) -> str:
    """A holder as the name of its session."""
    what = holder.what.replace(" ", "_")[:_WORD]
    text = f"{_PREFIX} {what} {holder.run_id[:8] or '-'} {holder.pid} {holder.host}"
    return text.encode("ascii", "replace")[:_NAME_BYTES].decode()


def _parse(session: int, text: str | None, since: float | None) -> Holder:
    parts = (text or "").split(" ")
    if len(parts) != 5 or parts[0] != _PREFIX or not parts[3].isdigit():  # noqa: PLR2004
        return Holder(what=f"session {text!r}", since=since or 0.0, session=session)
    _, what, run_id, pid, host = parts
    return Holder(
        what=what,
        run_id=run_id.strip("-"),
        since=since or 0.0,
        host=host,
        pid=int(pid),
        session=session,
    )


@contextmanager
def _failing(url: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        raise PolycopyError(
            f"the locks in the Postgres database {shown(url)} cannot be used: {said_by(error)}"
        ) from error
