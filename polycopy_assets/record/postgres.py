"""The URL of a Postgres database: read in one way, and shown without a password.

SQLAlchemy and libpq do not read every URL alike. Dagster leaves a `/` in the password of
`postgres_db` as it is: there the host begins for libpq, and its message shows a part of the
password. So SQLAlchemy alone reads URLs, and psycopg2 gets what SQLAlchemy understood.
"""

import os
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, make_url

from polycopy_assets.errors import PolycopyError
from polycopy_assets.settings.instance import masked, with_driver
from polycopy_assets.text import said_by

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

OLDEST = 11
"""The first version of Postgres that has all the functions that the locks need."""

_PORT = 5432


def connect(url: str, **options: Any) -> "Connection":
    """A connection of its own, which commits each statement; `options` are libpq's.

    Raises psycopg2.Error if the database cannot be reached, and PolycopyError if it is too old.
    """
    import psycopg2  # noqa: PLC0415 - optional

    read = make_url(with_driver(url))
    _, arguments = read.get_dialect()().create_connect_args(read)
    session = psycopg2.connect(**{**arguments, **options})
    if session.server_version < OLDEST * 10_000:
        found = session.get_parameter_status("server_version")
        session.close()
        raise PolycopyError(
            unusable(f"Postgres {found} is too old, expected {OLDEST} or newer", url)
        )
    session.autocommit = True
    return session


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
