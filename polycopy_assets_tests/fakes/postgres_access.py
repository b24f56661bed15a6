"""Roles of a real Postgres server that need their password, and a server that says it is old."""

import re
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg2
from psycopg2 import sql

from polycopy_assets_tests.fakes.postgres import USER

ODD = "se/cr@et:wo%72rd#1"
"""A password with everything in it that separates the parts of a URL."""

_VERSION = re.compile(rb"(server_version\0)\d\d(\.)")


def ask_for_passwords(server: str) -> None:
    """Has the server check the password of every role but the one of the tests."""
    with closing(_superuser(server)) as session, session.cursor() as cursor:
        cursor.execute("SHOW hba_file")
        ((path,),) = cursor.fetchall()
        Path(path).write_text(f"host all {USER} all trust\nhost all all all scram-sha-256\n")
        cursor.execute("SELECT pg_reload_conf()")


def new_role(server: str, password: str, *, owner: bool = True) -> str:
    """The URL of a new database, as a new role; unless it is its owner, it may create nothing."""
    role, database = f"r{uuid.uuid4().hex}", f"d{uuid.uuid4().hex}"
    with closing(_superuser(server)) as session, session.cursor() as cursor:
        login = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        cursor.execute(login.format(sql.Identifier(role), sql.Literal(password)))
        of = role if owner else USER
        cursor.execute(f"CREATE DATABASE {database} OWNER {of}")
    return url_of(server, role, password, database)


def url_of(server: str, role: str, password: str, database: str) -> str:
    """The URL, with what is special in the password escaped."""
    who = f"{role}:{quote(password, safe='')}"
    return f"postgresql://{who}@127.0.0.1:{urlsplit(server).port}/{database}"


def _superuser(server: str) -> psycopg2.extensions.connection:
    session = psycopg2.connect(server)
    session.autocommit = True
    return session


@contextmanager
def old_server(server: str) -> Iterator[int]:
    """A port at which the server says that it is Postgres 10."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to = ("127.0.0.1", urlsplit(server).port or 0)
        threading.Thread(target=_accept, args=(listener, to), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, to: tuple[str, int]) -> None:
    with suppress(OSError):  # closed: the end
        while True:
            near, far = listener.accept()[0], socket.create_connection(to)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=(one, other), daemon=True).start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(_VERSION.sub(rb"\g<1>10\2", data))
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)
