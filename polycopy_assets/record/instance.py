"""The Dagster instance: prepares its home, and creates its databases in full."""

import fcntl
import importlib
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import dagster as dg
import yaml
from sqlalchemy import URL, Connection, MetaData, Table, create_engine, literal, select
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from polycopy_assets.errors import ConfigurationError, PolycopyError
from polycopy_assets.record import place, postgres
from polycopy_assets.record.private.database import postgres_url
from polycopy_assets.record.private.pooled import unpool
from polycopy_assets.record.private.quiet_instance import quiet_instance
from polycopy_assets.settings.instance import INSTANCE, database_url
from polycopy_assets.settings.shared import umask_in
from polycopy_assets.system.sharing import make_directories, make_file, set_directory_mode
from polycopy_assets.text import quoted

_CREATING = ".creating"
_DATABASES = ("history", "schedules")
_IN_POSTGRES = f"""\
# In the Postgres database that {INSTANCE} names: export it for every process. It may hold a
# password, so it does not stand here.
storage:
  custom:
    module: polycopy_assets.postgres_storage
    class: PooledPostgresStorage
    config:
      postgres_url:
        env: {INSTANCE}"""
_MADE_WITH_ROWS = {"alembic_version", "secondary_indexes", "instance_info"}
"""Tables in which Dagster notes how it created the database."""


def prepare(home: str) -> bool:
    """Makes `home` a Dagster home with our `dagster.yaml`, if there is none; True if it was made.

    An existing `dagster.yaml` is left as it is, unless it is empty: earlier versions left an empty
    file if they were killed or the disk was full, and Dagster would accept it as the configuration.
    Raises ConfigurationError if it cannot be written, or if what Postgres needs is not installed.
    """
    on_postgres = bool(database_url(os.environ))
    if on_postgres:
        _check_extra()
    path, umask = Path(home) / "dagster.yaml", umask_in(os.environ)
    try:
        make_directories(path.parent, umask)
        if path.exists() and _holds_something(path):
            return False
        if not any(path.parent.iterdir()):
            set_directory_mode(path.parent, umask)
        _write_whole(path, _dagster_yaml(on_postgres=on_postgres).encode())
    except OSError as error:
        raise _unusable_home(home, error) from error
    return True


def differing_sections(home: str) -> list[str]:
    """The top-level keys in which a `dagster.yaml` that an earlier version wrote differs from ours.

    None if somebody has made the file their own, by deleting its first line, or if there is none.
    """
    path = Path(home) / "dagster.yaml"
    ours = _dagster_yaml(on_postgres=bool(database_url(os.environ)))
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    if text.partition("\n")[0] != ours.partition("\n")[0]:
        return []
    theirs, wanted = (yaml.safe_load(each) or {} for each in (text, ours))
    return sorted(key for key in theirs | wanted if theirs.get(key) != wanted.get(key))


def _check_extra() -> None:
    try:
        importlib.import_module("polycopy_assets.postgres_storage")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{INSTANCE} needs the extra for Postgres: {place.EXTRA}"
        ) from error


def _dagster_yaml(*, on_postgres: bool) -> str:
    text = (resources.files("polycopy_assets") / "dagster.yaml").read_text()
    if not on_postgres:
        return text
    parts = text.rstrip("\n").split("\n\n")
    others = [part for part in parts if "_storage:" not in part]
    return "\n\n".join([*others[:3], _IN_POSTGRES, *others[3:]]) + "\n"


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
    with file_lock(home), _created_whole(Path(home)), place.errors_that_name_the_database():
        instance = _open(home)
        place.use(instance)
        instance.get_runs_count()
        try:
            instance.get_dynamic_partitions("wallets")
        except dg.DagsterInvalidInvocationError as error:
            # Its file exists but is empty: Dagster takes it for an older version's.
            url, reason = postgres_url(instance), "a table is missing"
            raise PolycopyError(
                postgres.unusable(reason, url) if url else place.unusable(reason)
            ) from error
    with instance, place.errors_that_name_the_database():
        try:
            yield instance
        finally:
            unpool(instance)


def _open(home: str) -> dg.DagsterInstance:
    if not database_url(os.environ) and os.environ.get(INSTANCE) is not None:
        # Dagster would take the word, or the empty text, for the URL of a database.
        _check_no_url_is_read(home)
    try:
        return quiet_instance(home)
    except (PolycopyError, SQLAlchemyError, sqlite3.Error, OSError):
        raise  # the database is at fault, not a setting
    except Exception as error:
        if found := place.database_error(error):
            raise found from error
        # Without the error's text, which may quote a line with a password.
        raise ConfigurationError(_not_accepted(home, error)) from error


def _not_accepted(home: str, error: BaseException) -> str:
    missing = next((each.name for each in _chain(error) if isinstance(each, ImportError)), None)
    if missing == "psycopg":
        return (
            f"{home}/dagster.yaml: name Postgres' driver: `postgres_url: postgresql+psycopg2://…`,"
            " or `scheme: postgresql+psycopg2` below `postgres_db`; or install what the extra asks"
            f" for: {place.EXTRA}"
        )
    if missing in {"dagster_postgres", "psycopg2"}:
        return f"{home}/dagster.yaml needs the extra for Postgres: {place.EXTRA}"
    if missing:
        return f"{home}/dagster.yaml needs the Python module {missing}, which is not installed"
    if not database_url(os.environ) and INSTANCE in (Path(home) / "dagster.yaml").read_text():
        return _needs_url(home, "is not set")
    return (
        f"{home}/dagster.yaml is not accepted ({type(error).__name__}):"
        " `dagster instance info` says what is wrong"
    )


def _needs_url(home: str, now: str) -> str:
    return (
        f"{home}/dagster.yaml needs POLYCOPY_INSTANCE, which {now}: export the URL of the"
        " database for every process. To keep the record in files instead, move that file away and"
        " run `polycopy init`"
    )


def _check_no_url_is_read(home: str) -> None:
    """Raises ConfigurationError if `dagster.yaml` has Dagster read `POLYCOPY_INSTANCE` as a URL."""
    try:
        content = yaml.safe_load((Path(home) / "dagster.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return  # opening the instance says what is wrong with it
    if _reads(content, INSTANCE):
        value = os.environ[INSTANCE]
        raise ConfigurationError(_needs_url(home, f"is {value!r}" if value else "is empty"))


def _reads(content: object, variable: str) -> bool:
    """Whether a configuration of Dagster takes a value from an environment variable."""
    if isinstance(content, dict):
        inner = list(content.values())
        return content == {"env": variable} or any(_reads(each, variable) for each in inner)
    return isinstance(content, list) and any(_reads(each, variable) for each in content)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, and the errors that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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
