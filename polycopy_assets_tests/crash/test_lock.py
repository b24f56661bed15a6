"""The lock: held by one, freed by death alone, and nothing else decides."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from polycopy_assets.errors import LockLost, PolycopyError
from polycopy_assets.guard.lock import FileLocks, Holder, Locks, held, this_process
from polycopy_assets.guard.postgres_lock import PostgresLocks
from polycopy_assets_tests.spaces import ANOTHER_HOST, OWN_PROCESSES, within

_HOLD = """
import sys, time
from polycopy_assets.guard.lock import this_process
from polycopy_assets_tests.crash.test_lock import locks_at
lock = locks_at(sys.argv[1]).try_acquire(sys.argv[2], this_process("fetch", "1a2b3c4d5e6f"))
print("held" if lock else "taken", flush=True)
time.sleep(60)
"""
ME = this_process("load", "99887766")


def locks_at(place: str) -> Locks:
    return PostgresLocks(place) if "://" in place else FileLocks(Path(place))


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("server") if request.param == "postgres" else str(tmp_path / "x")


@contextmanager
def another(place: str, name: str, *within: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock, `within` another name space."""
    process = subprocess.Popen(
        [*within, sys.executable, "-c", _HOLD, place, name], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        for child in (*_children(process.pid), process.pid):
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def wait_until_free(locks: Locks, name: str) -> None:
    deadline = time.monotonic() + 20
    while locks.holder(name) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_holds_it_and_the_next_gets_it_when_it_is_released(place: str):
    locks = locks_at(place)
    assert locks.holder("a") is None
    lock = locks.try_acquire("a", ME)
    assert lock
    lock.check()
    assert locks.try_acquire("a", ME) is None
    assert locks.try_acquire("b", ME) is not None, "another name is another lock"
    told = locks.holder("a")
    assert told
    assert (told.what, told.run_id, told.pid) == ("load", "99887766", os.getpid())
    lock.release()
    lock.release()
    assert locks.holder("a") is None
    again = locks.try_acquire("a", ME)
    assert again
    again.release()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_death_frees_it_at_once(place: str, end: signal.Signals):
    locks = locks_at(place)
    with another(place, f"d{end}") as process:
        assert locks.try_acquire(f"d{end}", ME) is None
        process.send_signal(end)
        process.wait()
        wait_until_free(locks, f"d{end}")
    lock = locks.try_acquire(f"d{end}", ME)
    assert lock
    lock.release()


def test_a_frozen_holder_keeps_it_and_is_named_with_the_command_that_ends_it(place: str):
    locks = locks_at(place)
    with another(place, "frozen") as process:
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        assert locks.try_acquire("frozen", ME) is None
        told = locks.holder("frozen")
        assert told
        assert "run 1a2b3c4d (fetch, started 20" in str(told)
        assert f"kill -9 {process.pid}" in told.advice


@pytest.mark.parametrize("space", [ANOTHER_HOST, OWN_PROCESSES])
def test_no_host_name_and_no_process_id_decides(place: str, space: str):
    locks = locks_at(place)
    with another(place, "spaces", *within(space)):
        assert locks.try_acquire("spaces", ME) is None
        assert locks.holder("spaces") is not None
    wait_until_free(locks, "spaces")


def test_a_holder_in_a_container_is_named_by_the_process_id_that_it_has_here(tmp_path: Path):
    locks = FileLocks(tmp_path)
    with another(str(tmp_path), "a", *within(OWN_PROCESSES)) as process:
        told = locks.holder("a")
        assert told
        assert [told.pid] == _children(process.pid)
        subprocess.run(told.advice.rpartition(": ")[2], shell=True, check=True)
        wait_until_free(locks, "a")


def test_a_holder_of_which_nothing_is_known_is_called_no_process_in_particular():
    assert str(Holder(what="it has just taken the lock")) == (
        "another process (it has just taken the lock)"
    )
    assert "kill" not in Holder(what="x").advice


def test_who_holds_a_lock_in_postgres_is_told_whatever_the_names_are(server: str):
    locks = PostgresLocks(server)
    long = Holder(what="a job of theirs " * 9, run_id="", pid=4711, host="h\u00f6st-" * 20)
    lock = locks.try_acquire("names", long)
    assert lock
    told = locks.holder("names")
    assert told
    assert told.pid == 4711
    assert told.host.startswith("h?st-h?st-")
    assert str(told).startswith("another process (a_job_of_theirs_, started 20")
    lock.release()


def test_another_programs_lock_in_postgres_is_told_by_its_session(server: str):
    connection = psycopg2.connect(server, application_name="pgAdmin 4 - DB:postgres")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('polycopy/theirs', 0))")
        told = PostgresLocks(server).holder("theirs")
        assert told
        assert "'pgAdmin 4 - DB:postgres'" in str(told)
        cursor.execute("SELECT pg_backend_pid()")
        assert told.advice.endswith(f"SELECT pg_terminate_backend({cursor.fetchone()[0]})")  # type: ignore[index]
    connection.close()


def test_a_session_that_gave_its_lock_away_is_noticed_before_the_next_step(server: str):
    """As behind a pooler, which hands the session to somebody else."""
    lock = PostgresLocks(server).try_acquire("given", ME)
    assert lock
    lock.check()
    with lock._session.cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("DISCARD ALL")
    with pytest.raises(LockLost, match="no longer holds the lock"):
        lock.check()


def test_a_child_that_outlives_its_holder_does_not_keep_it(tmp_path: Path):
    code = _HOLD.replace("time.sleep(60)", "import subprocess; subprocess.Popen(['sleep', '30'])")
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "a"], check=True, stdout=subprocess.DEVNULL
    )
    assert FileLocks(tmp_path).holder("a") is None


def test_of_many_who_want_it_one_at_a_time_has_it(place: str):
    locks, inside, most = locks_at(place), 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with held(locks, "many", ME, sleep=lambda _: time.sleep(0.01)) as lock:
            with guard:
                inside += 1
                most = max(most, inside)
            lock.check()
            time.sleep(0.01)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_looking_at_a_lock_at_the_same_time_takes_nobody_for_its_holder(tmp_path: Path):
    locks = FileLocks(tmp_path)
    (tmp_path / "a.lock").touch()
    seen: list[Holder | None] = []
    threads = [
        threading.Thread(target=lambda: seen.extend(locks.holder("a") for _ in range(200)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [None] * 800


def test_a_removed_file_is_noticed_before_the_next_step(tmp_path: Path):
    lock = FileLocks(tmp_path / "locks").try_acquire("a", ME)
    assert lock
    shutil.rmtree(tmp_path / "locks")
    with pytest.raises(LockLost, match="was removed"):
        lock.check()
    lock.release()


def test_a_session_that_ended_is_noticed_before_the_next_step(server: str):
    lock = PostgresLocks(server).try_acquire("lost", ME)
    assert lock
    admin = psycopg2.connect(server)
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s",
            ("polycopy load%",),
        )
    admin.close()
    with pytest.raises(LockLost, match="has ended"):
        lock.check()
    other = PostgresLocks(server).try_acquire("lost", ME)
    assert other
    other.release()


def test_what_cannot_be_told_is_an_error(tmp_path: Path):
    (tmp_path / "file").touch()
    for locks in (FileLocks(tmp_path / "file"), PostgresLocks("postgresql://u@127.0.0.1:1/x")):
        with pytest.raises(PolycopyError, match="cannot be used"):
            locks.try_acquire("a", ME)
        with pytest.raises(PolycopyError, match="cannot be used"):
            locks.holder("a")
