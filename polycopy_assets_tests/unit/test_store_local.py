"""A directory as a store: whole or not at all, never rewritten."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from polycopy_assets.errors import ObjectExists, ObjectLost, StoreError
from polycopy_assets.store.local import LocalStore

WRITER = """
import sys
from pathlib import Path
from polycopy_assets.store.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
for number in range(10**6):
    store.create(f"trades/{number % 7}/{number:08d}", bytes([number % 251]) * 300_000)
"""


def test_of_thirty_who_create_the_same_name_one_wins_and_its_bytes_stand(tmp_path: Path):
    store = LocalStore(tmp_path)
    won: list[int] = []
    barrier = threading.Barrier(30)

    def create(number: int) -> None:
        barrier.wait()
        try:
            store.create("a/b", b"%d" % number)
        except ObjectExists:
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [b"%d" % n for n in won] == [store.read("a/b")]
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_a_writer_that_is_killed_leaves_no_object_that_is_not_whole(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
    while not list(tmp_path.glob("trades/*/*")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    store = LocalStore(tmp_path)
    names = [item.name for item in store.list("trades/")]
    assert len(names) > 5
    for name in names:
        number = int(name.rsplit("/", 1)[1])
        assert store.read(name) == bytes([number % 251]) * 300_000


def test_listing_is_sorted_and_knows_nothing_of_what_is_being_written(tmp_path: Path):
    store = LocalStore(tmp_path)
    for name in ("t/b/2", "t/a", "t/b/10", "t/c"):
        store.create(name, b"xyz")
    (tmp_path / "t" / ".hidden").write_bytes(b"")
    assert [(i.name, i.size) for i in store.list("t/")] == [
        ("t/a", 3),
        ("t/b/10", 3),
        ("t/b/2", 3),
        ("t/c", 3),
    ]
    assert list(store.list("nothing/")) == []


def test_a_listing_that_fails_is_not_an_empty_one(tmp_path: Path):
    (tmp_path / "t").write_text("a file where a directory should be")
    with pytest.raises(StoreError, match="cannot list"):
        list(LocalStore(tmp_path).list("t/"))


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd"])
def test_a_name_does_not_leave_the_store(tmp_path: Path, name: str):
    with pytest.raises(StoreError, match="not an object name"):
        LocalStore(tmp_path / "store").create(name, b"")


def test_what_is_not_there_is_lost_and_not_empty(tmp_path: Path):
    with pytest.raises(ObjectLost):
        LocalStore(tmp_path).read("a")
    with pytest.raises(ObjectLost), LocalStore(tmp_path).local("a"):
        pass


def test_a_store_below_a_file_cannot_be_written_and_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        LocalStore(tmp_path / "file" / "store").check_writable()


def test_leftovers_of_crashes_go_after_a_day_and_fresh_ones_stay(tmp_path: Path):
    store = LocalStore(tmp_path)
    store.check_writable()
    old, fresh = tmp_path / ".incoming" / "old", tmp_path / ".incoming" / "fresh"
    old.touch()
    fresh.touch()
    os.utime(old, (0, 0))
    store.check_writable()
    assert list((tmp_path / ".incoming").iterdir()) == [fresh]


def test_a_local_file_becomes_an_object_and_stays(tmp_path: Path):
    store = LocalStore(tmp_path / "store")
    (tmp_path / "part").write_bytes(b"parquet")
    store.create_from("p/1", tmp_path / "part")
    with store.local("p/1") as path:
        assert path.read_bytes() == b"parquet"
    assert (tmp_path / "part").exists()
    store.delete("p/1")
    store.delete("p/1")
    assert list(store.list("p/")) == []
