"""The Dagster instance: its home made ready, its databases created whole."""

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import dagster as dg
from sqlalchemy import URL, Connection, MetaData, Table, create_engine, literal, select
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from polycopy_assets.errors import ConfigurationError, PolycopyError
from polycopy_assets.sharing import make_directories, make_file, set_directory_mode, umask_in
from polycopy_assets.text import quoted

_CREATING = ".creating"
_DATABASES = ("history", "schedules")
_MADE_WITH_ROWS = {"alembic_version", "secondary_indexes", "instance_info"}
"""Tables in which Dagster writes down how it has made the database."""


def prepare(home: str) -> bool:
    """Makes `home` a Dagster home with our `dagster.yaml`, if there is none; True if it was made.

    An existing `dagster.yaml` is left as it is, but for one without a byte: that is what an earlier
    version left if it was killed there, or met a full disk, and Dagster would take it for a choice.
    Raises ConfigurationError if it cannot be written.
    """
    path, umask = Path(home) / "dagster.yaml", umask_in(os.environ)
    try:
        make_directories(path.parent, umask)
        if path.exists() and _holds_something(path):
            return False
        if not any(path.parent.iterdir()):
            set_directory_mode(path.parent, umask)
        _write_whole(path, (resources.files("polycopy_assets") / "dagster.yaml").read_bytes())
    except OSError as error:
        raise _unusable_home(home, error) from error
    return True


def _holds_something(path: Path) -> bool:
    with path.open("rb") as file:
        return bool(file.read(1))


def _write_whole(path: Path, content: bytes) -> None:
    """Makes the file `path` in one step: killed, or on a full disk, there is none."""
    new = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        with os.fdopen(make_file(new, umask_in(os.environ)), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(new)  # whoever was faster has made it whole as well
        except FileExistsError:
            if not _holds_something(path):
                new.replace(path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def opened(home: str) -> Iterator[dg.DagsterInstance]:
    """The instance at `home`, prepared; the databases exist when it is handed out.

    From then on DAGSTER_HOME names it, for this process and those it starts.
    """
    prepare(home)
    os.environ["DAGSTER_HOME"] = home
    # Two processes that create the databases at once: one of them would die of it.
    with alone(home), _created_whole(Path(home)):
        instance = _open(home)
        instance.get_runs_count()
        try:
            instance.get_dynamic_partitions("wallets")
        except dg.DagsterInvalidInvocationError as error:
            # Its file is there, and empty: Dagster takes it for one of an older version.
            raise PolycopyError(unusable("a table is missing")) from error
    with instance:
        yield instance


def _open(home: str) -> dg.DagsterInstance:
    try:
        return dg.DagsterInstance.from_config(home)
    except (SQLAlchemyError, sqlite3.Error, OSError):
        raise  # the database, not what is set
    except Exception as error:
        # Without its text: it may show a line of the file, and a password with it.
        raise ConfigurationError(
            f"{home}/dagster.yaml is not accepted ({type(error).__name__}):"
            " `dagster instance info` says what is wrong"
        ) from error


def unusable(reason: str) -> str:
    """One line for people: Dagster's database cannot be used, and what to do."""
    return (
        f"Dagster's database in DAGSTER_HOME={os.environ.get('DAGSTER_HOME')!r} cannot be used:"
        f' {reason} (if it is lost: docs/reconciliation.md, "Dagster\'s database is gone")'
    )


@contextmanager
def _created_whole(home: Path) -> Iterator[None]:
    """Creates the databases whole: those that a process died over are put out of the way first.

    A killed creation leaves tables that the next one trips over. Where anything is kept in them the
    creation had ended, and only the marker was left: they stay.
    """
    marker = home / _CREATING
    databases = [home / name for name in _DATABASES if (home / name).exists()]
    if marker.exists() and not any(_keeps_something(path) for path in _files(databases)):
        for database in databases:
            database.rename(home / f"{database.name}.half-made-{uuid.uuid4().hex[:8]}")
        databases = []
    if not databases:
        marker.touch()
    yield
    marker.unlink(missing_ok=True)


def _files(databases: Iterable[Path]) -> Iterator[Path]:
    for database in databases:
        yield from database.rglob("*.db")


def _keeps_something(path: Path) -> bool:
    """Whether the SQLite database has a row beyond those that creating it writes.

    One that is none, or is damaged, is not known to have none. Raises OperationalError if it is
    locked.
    """
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)
    with engine.connect() as connection:
        try:
            return any(
                connection.execute(select(literal(1)).select_from(table).limit(1)).first()
                for table in _tables(connection)
                if table.name not in _MADE_WITH_ROWS
            )
        except OperationalError:
            raise
        except DatabaseError:
            return True


def _tables(connection: Connection) -> Iterable[Table]:
    found = MetaData()
    found.reflect(connection)
    return found.tables.values()


@contextmanager
def alone(home: str) -> Iterator[None]:
    """Waits until no other process of this machine is at such a point for `home`."""
    try:
        lock = (Path(home) / ".opening").open("w")
    except OSError as error:
        raise _unusable_home(home, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unusable_home(home: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"DAGSTER_HOME={quoted(home)} cannot be used: {error.filename}: {error.strerror}"
    )
