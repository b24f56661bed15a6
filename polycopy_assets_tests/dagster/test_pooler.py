"""A pooler before Postgres: one that keeps sessions is used, and any other is refused."""

import time
from contextlib import ExitStack, closing

import psycopg2
import pytest

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.guard.lock import this_process
from polycopy_assets.guard.postgres_lock import PostgresLocks
from polycopy_assets.record import postgres
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.fakes.pgbouncer import PROGRAM, pgbouncer
from polycopy_assets_tests.fakes.postgres import new_database

ME = this_process("load", "99887766")
pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason="pgbouncer is not installed: apt-get install pgbouncer"
)


@pytest.fixture
def database(server: str) -> str:
    """A database of its own: a pooler keeps sessions for each."""
    return new_database(server)


def in_use(pooled: str, sessions: int) -> None:
    """Has the pooler keep several sessions, which are free.

    It ends a session whose client goes in the middle of a transaction, so each is committed.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(psycopg2.connect(pooled))) for _ in range(sessions)]
        for client in clients:
            client.cursor().execute("SELECT 1")
        for client in clients:
            client.commit()


@pytest.mark.parametrize(
    ("mode", "in_turn", "sessions"),
    [
        ("transaction", False, 0),
        ("transaction", False, 3),
        ("transaction", True, 2),
        ("transaction", True, 3),
        ("statement", False, 0),
    ],
)
def test_a_pooler_that_keeps_no_sessions_is_refused(
    deployment: Deployment, database: str, mode: str, sessions: int, *, in_turn: bool
):
    with pgbouncer(database, mode, in_turn=in_turn) as pooled:
        if sessions:
            in_use(pooled, sessions)
        with pytest.raises(ConfigurationError, match="does not keep sessions"):
            PostgresLocks(pooled).try_acquire("source", ME)
        if in_turn or sessions:
            return
        failed = deployment.polycopy("init", environ={"POLYCOPY_INSTANCE": pooled})
        assert failed.returncode == 2
        (line,) = failed.stderr.splitlines()
        assert "pool_mode = session" in line
        with closing(psycopg2.connect(database)) as direct, direct.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            assert cursor.fetchone() == (0,)


def test_a_pooler_that_keeps_sessions_is_used_and_a_server_is_asked_once(
    database: str, monkeypatch: pytest.MonkeyPatch
):
    with pgbouncer(database, "session") as pooled:
        lock = PostgresLocks(pooled).try_acquire("source", ME)
        assert lock
        assert PostgresLocks(pooled).try_acquire("source", ME) is None
        assert PostgresLocks(database).try_acquire("source", ME) is None
        lock.check()
        lock.release()
    # Nobody stands before the server: no second connection is opened to see that.
    monkeypatch.setattr(postgres, "_check_sessions", None)
    # A pooler clears up a session some time after its client has left.
    deadline = time.monotonic() + 30
    while not (direct := PostgresLocks(database).try_acquire("source", ME)):
        assert time.monotonic() < deadline, "the lock is still held"
        time.sleep(0.05)
    direct.release()
