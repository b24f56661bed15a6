"""The Dagster instance: prepares its home, and creates its databases in full."""

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
from polycopy_assets.record.private.quiet_instance import quiet_instance
from polycopy_assets.settings.shared import umask_in
from polycopy_assets.system.sharing import make_directories, make_file, set_directory_mode
from polycopy_assets.text import quoted

_CREATING = ".creating"
_DATABASES = ("history", "schedules")
_MADE_WITH_ROWS = {"alembic_version", "secondary_indexes", "instance_info"}
"""Tables in which Dagster notes how it created the database."""


def prepare(home: str) -> bool:
    """Makes `home` a Dagster home with our `dagster.yaml`, if there is none; True if it was made.

    An existing `dagster.yaml` is left as it is, unless it is empty: earlier versions left an empty
    file if they were killed or the disk was full, and Dagster would accept it as the configuration.
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
    """Creates the file `path` in one step: after a kill, or on a full disk, there is none."""
    new = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        with os.fdopen(make_file(new, umask_in(os.environ)), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(new)  # a faster process has created the whole file
        except FileExistsError:
            if not _holds_something(path):
                new.replace(path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def opened(home: str) -> Iterator[dg.DagsterInstance]:
    """The instance at `home`, prepared and with its databases.

    From then on DAGSTER_HOME names it, for this process and those it starts.
    """
    prepare(home)
    os.environ["DAGSTER_HOME"] = home
    # Locked: if two processes create the databases at once, one of them fails.
    with file_lock(home), _created_whole(Path(home)):
        instance = _open(home)
        instance.get_runs_count()
        try:
            instance.get_dynamic_partitions("wallets")
        except dg.DagsterInvalidInvocationError as error:
            # Its file exists but is empty: Dagster takes it for an older version's.
            raise PolycopyError(unusable("a table is missing")) from error
    with instance:
        yield instance


def _open(home: str) -> dg.DagsterInstance:
    try:
        return quiet_instance(home)
    except (SQLAlchemyError, sqlite3.Error, OSError):
        raise  # the database is at fault, not a setting
    except ModuleNotFoundError as error:
        raise ConfigurationError(_not_installed(home, error.name)) from error
    except Exception as error:
        # Without the error's text, which may quote a line with a password.
        raise ConfigurationError(
            f"{home}/dagster.yaml is not accepted ({type(error).__name__}):"
            " `dagster instance info` says what is wrong"
        ) from error


def _not_installed(home: str, module: str | None) -> str:
    if module == "psycopg":
        return (
            f"{home}/dagster.yaml: name Postgres' driver: `postgres_url: postgresql+psycopg2://…`,"
            " or `scheme: postgresql+psycopg2` below `postgres_db`"
        )
    return f"{home}/dagster.yaml needs the Python module {module}, which is not installed"


def unusable(reason: str) -> str:
    """One line for people: Dagster's database cannot be used, and what to do."""
    return (
        f"Dagster's database in DAGSTER_HOME={os.environ.get('DAGSTER_HOME')!r} cannot be used:"
        f' {reason} (if it is lost: docs/reconciliation.md, "Dagster\'s database is gone")'
    )


@contextmanager
def _created_whole(home: Path) -> Iterator[None]:
    """Creates the databases in full: those left by a killed creation are moved aside first.

    Leftover tables would make the creation fail. Databases that hold data are complete, and stay:
    then only the marker was left.
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

    True for a file that is damaged or not a database: it may hold data. Raises OperationalError if
    it is locked.
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
def file_lock(home: str) -> Iterator[None]:
    """Waits for the lock on `home`, among the processes of this machine, and holds it."""
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
