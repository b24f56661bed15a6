"""Whether a Dagster instance is where the settings say, and what to say if its database fails."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import SQLAlchemyError

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.record import postgres
from polycopy_assets.record.private.database import postgres_url
from polycopy_assets.record.private.pooled import pool
from polycopy_assets.settings.instance import INSTANCE, database_url, masked, with_driver
from polycopy_assets.text import said_by

EXTRA = "pip install 'polycopy-assets[postgres]'"
_RETRY = "Retrying failed database connection"
_RETRY_EVERY_SECONDS = 10.0
"""Dagster tries each of its calls six times: a server that is gone would fill the screen."""

_URL = "url_of_database"
"""What an error of SQLAlchemy's remembers: the URL of its database."""

_TURN = threading.Lock()


class _Open:
    """How many contexts of `errors_that_name_the_database` are open."""

    contexts = 0
    retry_said_at = -_RETRY_EVERY_SECONDS


_OPEN = _Open()


def use(instance: dg.DagsterInstance, environ: Mapping[str, str] = os.environ) -> None:
    """Has an instance in Postgres keep its connections.

    Raises ConfigurationError if `POLYCOPY_INSTANCE` names another database than `dagster.yaml`: the
    record would be written where no other process looks for it.
    """
    wanted, found = database_url(environ), postgres_url(instance)
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
    return postgres.unusable(reason, getattr(error, _URL, None))


def unusable(reason: str) -> str:
    """The same for a reason in words, if the database is in files."""
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


def why_database_failed(error: BaseException) -> str:
    """The database's own words in one line, without a password; empty if it is another error."""
    found = database_error(error)
    return _reason(found) if found else ""


@contextmanager
def errors_that_name_the_database() -> Iterator[None]:
    """Has each error of a database know where that is; no message of a driver says it in full.

    And has Dagster log retries of a connection to Postgres in one line, without a password, and at
    most one in `_RETRY_EVERY_SECONDS`. Both hold for the whole process, until the last context
    ends: instances may be open at once.
    """
    with _TURN:
        _OPEN.contexts += 1
        if _OPEN.contexts == 1:
            logging.getLogger().addFilter(_shorten)
            event.listen(Engine, "handle_error", _remember_url)
    try:
        yield
    finally:
        with _TURN:
            _OPEN.contexts -= 1
            if _OPEN.contexts == 0:
                logging.getLogger().removeFilter(_shorten)
                event.remove(Engine, "handle_error", _remember_url)


def _remember_url(context: ExceptionContext) -> None:
    if context.engine is not None and context.sqlalchemy_exception is not None:
        url = context.engine.url.set(password=None)
        setattr(context.sqlalchemy_exception, _URL, url)


def _shorten(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith(_RETRY) and isinstance(record.args, tuple) and record.args:
        now = time.monotonic()
        if now - _OPEN.retry_said_at < _RETRY_EVERY_SECONDS:
            return False
        _OPEN.retry_said_at = now
        record.msg, record.args = f"{_RETRY}: {_reason(record.args[0])}", ()
    return True


def _reason(error: object) -> str:
    return masked(said_by(getattr(error, "orig", None) or error), os.environ)
