"""A real PgBouncer on loopback (`apt-get install pgbouncer`) before the Postgres of the tests."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

from polycopy_assets_tests.fakes.postgres import START_SECONDS, USER, new_folder, started

_SETTINGS = """
[databases]
{database} = host=127.0.0.1 port={port} dbname={database} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
server_round_robin = {in_turn:d}
"""


PROGRAM = Path("/usr/sbin/pgbouncer")
"""Where Debian's package has it."""


@contextmanager
def pgbouncer(url: str, mode: str, *, in_turn: bool = False) -> Iterator[str]:
    """The URL of the database by a pooler with this `pool_mode`.

    `in_turn` has it use its sessions in turn, and not the one that was free last.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    database, port = urlsplit(url).path[1:], urlsplit(url).port
    folder = new_folder()
    text = _SETTINGS.format(
        database=database, port=port, user=USER, own=own, mode=mode, in_turn=in_turn
    )
    (folder / "ini").write_text(text)
    pooled = f"postgresql://{USER}@127.0.0.1:{own}/{database}"
    try:
        with (folder / "log").open("w") as log:
            process = started(str(PROGRAM), ["ini"], folder, log)
        try:
            _wait_for(pooled, process)
            yield pooled
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(psycopg2.OperationalError):
            psycopg2.connect(url, connect_timeout=5).close()
            return
        time.sleep(0.02)
    raise TimeoutError("PgBouncer has not started")
