"""The URL of a Postgres database: read in one way, and shown without a password.

SQLAlchemy and libpq do not read every URL alike. Dagster leaves a `/` in the password of
`postgres_db` as it is: there the host begins for libpq, and its message shows a part of the
password. So SQLAlchemy alone reads URLs, and psycopg2 gets what SQLAlchemy understood.

Whoever connects here locks, and a lock belongs to a session. A pooler that gives its clients
another session for each transaction (PgBouncer's `pool_mode`) makes two of them hold one lock, and
each sees it as its own. So such a pooler is refused.
"""

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, make_url

from polycopy_assets.errors import ConfigurationError, PolycopyError
from polycopy_assets.settings.instance import masked, with_driver
from polycopy_assets.text import said_by

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

OLDEST = 11
"""The first version of Postgres that has all the functions that the locks need."""

_PORT = 5432
_ROUNDS = 2
"""How often two connections are asked for their sessions, each twice in a round."""


def connect(url: str, **options: Any) -> "Connection":
    """A connection of its own, which commits each statement; `options` are libpq's.

    Raises psycopg2.Error if the database cannot be reached, PolycopyError if it is too old, and
    ConfigurationError if a pooler stands before it that does not keep sessions.
    """
    session = _connected(url, options)
    try:
        _check_version(session, url)
        if not _is_direct(session):
            with closing(_connected(url, options)) as other:
                _check_sessions(session, other, url)
    except BaseException:
        session.close()
        raise
    return session


def _connected(url: str, options: dict[str, Any]) -> "Connection":
    import psycopg2  # noqa: PLC0415 - optional

    read = make_url(with_driver(url))
    _, arguments = read.get_dialect()().create_connect_args(read)
    session = psycopg2.connect(**{**arguments, **options})
    session.autocommit = True
    return session


def _check_version(session: "Connection", url: str) -> None:
    if session.server_version < OLDEST * 10_000:
        found = session.get_parameter_status("server_version")
        raise PolycopyError(
            unusable(f"Postgres {found} is too old, expected {OLDEST} or newer", url)
        )


def _is_direct(session: "Connection") -> bool:
    """Whether the server itself answers: a pooler makes up the number of a new session."""
    return session.info.backend_pid == _number(session)


def _check_sessions(one: "Connection", other: "Connection", url: str) -> None:
    """Raises ConfigurationError unless two open connections have a session each, and keep it.

    A server, and a pooler that keeps sessions, never show anything else. Any other pooler serves
    both by the session that was free last, or serves one of them by another one each time.
    """
    ones, others = set[int](), set[int]()
    for _ in range(_ROUNDS):
        # Each twice in a row: in strict turn, two connections on two sessions would keep theirs.
        for session, seen in ((one, ones), (other, others), (other, others), (one, ones)):
            seen.add(_number(session))
    if len(ones) > 1 or len(others) > 1 or ones == others:
        raise ConfigurationError(
            f"before the Postgres database {shown(url)} is a pooler that does not keep sessions"
            " (PgBouncer's pool_mode = transaction or statement), so no lock would hold:"
            " name the server itself, or set pool_mode = session"
        )


def _number(session: "Connection") -> int:
    with session.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        ((number,),) = cursor.fetchall()
        return number


def shown(url: str | URL) -> str:
    """The database and its host, for people: `'polycopy' on db.example.com:5432`."""
    read = make_url(url)
    host = read.host or _text(read.query.get("host")) or "this machine"
    return f"{read.database!r} on {host}:{read.port or _text(read.query.get('port')) or _PORT}"


def _text(value: str | tuple[str, ...] | None) -> str:
    return value if isinstance(value, str) else ",".join(value or ())


def unusable(reason: object, url: str | URL | None = None) -> str:
    """One line for people: the database at `url` cannot be used, and what to do.

    `reason` is a text, or an exception whose text is shown.
    """
    where = shown(url) if url else "of this instance"
    said = masked(said_by(reason), os.environ)
    return (
        f"Dagster's Postgres database {where} cannot be used: {said}."
        " Its record is not touched: once the database can be used, start this again: it continues"
    )
