"""Whether a Dagster instance is where the settings say, and what to say if its database fails."""

import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.record.private.database import postgres_url
from polycopy_assets.record.private.pooled import pool
from polycopy_assets.settings.instance import INSTANCE, masked, with_driver
from polycopy_assets.text import said_by

EXTRA = "pip install 'polycopy-assets[postgres]'"
_RETRY = "Retrying failed database connection"


def use(instance: dg.DagsterInstance, environ: Mapping[str, str] = os.environ) -> None:
    """Has an instance in Postgres keep its connections.

    Raises ConfigurationError if `POLYCOPY_INSTANCE` names another database than `dagster.yaml`: the
    record would be written where no other process looks for it.
    """
    wanted, found = environ.get(INSTANCE), postgres_url(instance)
    if wanted and (found is None or with_driver(found) != with_driver(wanted)):
        where = "another database" if found else "files"
        raise ConfigurationError(
            f"POLYCOPY_INSTANCE is set, but the dagster.yaml in DAGSTER_HOME="
            f"{environ.get('DAGSTER_HOME')!r} keeps Dagster's record in {where}: unset {INSTANCE},"
            " or move that file away and run `polycopy init`, which writes one for it (what is"
            " recorded so far stays where it is: docs/operations.md)"
        )
    pool(instance)


def database_failed(error: BaseException) -> str:
    """One line for people: Dagster's database cannot be used, and what to do.

    `error` is an SQLAlchemyError, or what SQLite or the disk raised.
    """
    reason = getattr(error, "orig", None) or error
    if not isinstance(error, SQLAlchemyError) or isinstance(reason, sqlite3.Error):
        return unusable(said_by(reason))
    return unusable(masked(said_by(reason), os.environ), in_postgres=True)


def unusable(reason: str, *, in_postgres: bool = False) -> str:
    """The same for a reason in words."""
    if in_postgres:
        return (
            f"Dagster's Postgres database cannot be used: {reason}. Its record is not touched:"
            " once the database can be used, start this again: it continues"
        )
    return (
        f"Dagster's database in DAGSTER_HOME={os.environ.get('DAGSTER_HOME')!r} cannot be used:"
        f' {reason} (if it is lost: docs/reconciliation.md, "Dagster\'s database is gone")'
    )


def database_error(error: BaseException) -> SQLAlchemyError | None:
    """The database's own error that `error` is or wraps, as Dagster does after some retries."""
    for each in (error, error.__cause__):
        if isinstance(each, SQLAlchemyError):
            return each
    return None


@contextmanager
def retries_in_one_line() -> Iterator[None]:
    """Has Dagster log each retry of a connection to Postgres in one line, without a password."""
    root = logging.getLogger()
    root.addFilter(_shorten)
    try:
        yield
    finally:
        root.removeFilter(_shorten)


def _shorten(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith(_RETRY) and isinstance(record.args, tuple) and record.args:
        cause = getattr(record.args[0], "orig", None) or record.args[0]
        record.msg, record.args = f"{_RETRY}: {masked(said_by(cause), os.environ)}", ()
    return True
