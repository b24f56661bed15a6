"""What is left of commands that were killed without a database, and what it still tells."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from polycopy_assets.guard.lease import take_lease
from polycopy_assets.guard.lock import this_process
from polycopy_assets.record import temporary_home
from polycopy_assets.record.temporary_home import IN_USE, KEPT_SECONDS, remove_leftovers
from polycopy_assets.store.local import LocalStore

KILLED = """
import os, signal, sys
from pathlib import Path
from polycopy_assets.guard.lease import take_lease
from polycopy_assets.guard.lock import this_process
from polycopy_assets.record.temporary_home import IN_USE, temporary_home
from polycopy_assets.store.local import LocalStore
with temporary_home() as home:
    (home / "history").mkdir()
    (home / "history" / "runs.db").write_text("runs")
    (home / "dagster.yaml").symlink_to("/nowhere")
    take_lease(LocalStore(Path(sys.argv[1])), this_process("a command"), home / IN_USE,
               waiting=lambda holder: None)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's temporary files lie."""
    temp = tmp_path / "temp"
    temp.mkdir()
    monkeypatch.setenv("TMPDIR", str(temp))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return temp


def left(temp: Path, store: Path) -> Path:
    """The home of a command that was killed while it held the lock in `store`."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(store)], check=False)
    assert ended.returncode < 0
    (home,) = temp.iterdir()
    return home


def test_a_killed_commands_lock_is_free_at_once_also_after_others_have_cleared_up(
    temp: Path, tmp_path: Path
):
    home = left(temp, tmp_path / "store")
    remove_leftovers()
    assert [path.name for path in home.iterdir()] == [IN_USE], "what takes room is gone"

    def wait(seconds: float) -> None:
        pytest.fail(f"waits {seconds} s for a command that is gone")

    mine = tmp_path / "mine"
    mine.touch()
    lease = take_lease(
        LocalStore(tmp_path / "store"),
        this_process("the next"),
        mine,
        waiting=lambda holder: None,
        sleep=wait,
    )
    lease.release()


def test_the_locked_file_goes_when_nobody_waits_for_its_command_any_more(
    temp: Path, tmp_path: Path
):
    home = left(temp, tmp_path / "store")
    long_ago = time.time() - KEPT_SECONDS - 1
    os.utime(home / IN_USE, (long_ago, long_ago))
    remove_leftovers()
    assert home.exists(), "the time counts from when it was found"
    remove_leftovers()
    assert home.exists()
    os.utime(home / IN_USE, (long_ago, long_ago))
    remove_leftovers()
    assert not home.exists()


def test_the_home_of_a_living_command_stays_whole(temp: Path):
    with temporary_home.temporary_home() as home:
        (home / "storage").mkdir()
        os.utime(home / IN_USE, (0, 0))
        remove_leftovers()
        assert {path.name for path in home.iterdir()} == {IN_USE, "storage"}
    assert not list(temp.iterdir())


def test_what_is_no_home_of_ours_is_left_alone(temp: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in (IN_USE, "mine.txt"):
        (elsewhere / name).touch()
    (temp / "polycopy-record-link").symlink_to(elsewhere)
    (temp / "polycopy-record-file").touch()
    (temp / "polycopy-record-making").mkdir()  # its locked file is not there yet
    before = sorted(temp.iterdir())
    remove_leftovers()
    assert sorted(temp.iterdir()) == before
    assert sorted(path.name for path in elsewhere.iterdir()) == [IN_USE, "mine.txt"]
