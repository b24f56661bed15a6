"""A directory as a store: whole or not at all, never rewritten."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from polycopy_assets.errors import ObjectDamaged, ObjectKept, ObjectLost, StoreError
from polycopy_assets.store.local import LocalStore

WRITER = """
import sys
from pathlib import Path
from polycopy_assets.store.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
for number in range(10**6):
    store.create(f"trades/{number % 7}/{number:08d}", bytes([number % 251]) * 300_000)
"""


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


def test_listing_knows_nothing_of_what_is_being_written(tmp_path: Path):
    store = LocalStore(tmp_path)
    store.create("t/a", b"xyz")
    (tmp_path / "t" / ".hidden").write_bytes(b"")
    assert [item.name for item in store.list("t/")] == ["t/a"]


def test_a_listing_that_fails_is_not_an_empty_one(tmp_path: Path):
    (tmp_path / "t").write_text("a file where a directory should be")
    with pytest.raises(StoreError, match="cannot list"):
        list(LocalStore(tmp_path).list("t/"))


def test_what_has_vanished_is_not_listed_and_what_cannot_be_looked_at_is_named(tmp_path: Path):
    store = LocalStore(tmp_path)
    store.create("t/a", b"xyz")
    (tmp_path / "t" / "b").symlink_to("nowhere")
    store.create("t/c", b"xyz")
    assert [item.name for item in store.list("t/")] == ["t/a", "t/c"]
    (tmp_path / "t" / "d").symlink_to("d")
    assert [item.name for item in store.list("t/")] == ["t/a", "t/c"]
    assert dict(store.left_out("t/")) == {"t/b": "a link", "t/d": "a link"}


def test_a_file_that_vanishes_while_it_is_listed_is_left_out(tmp_path: Path):
    store = LocalStore(tmp_path)
    for name in "abc":
        store.create(f"t/{name}", b"xyz")
    listing = store.list("t/")
    assert next(listing).name == "t/a"
    store.delete("t/b")
    assert [item.name for item in listing] == ["t/c"]


def test_a_file_that_cannot_be_opened_is_named_and_one_that_is_gone_is_lost(tmp_path: Path):
    store = LocalStore(tmp_path)
    (tmp_path / "t").mkdir()
    with pytest.raises(ObjectLost, match=r"/t is a folder"), store.local("t"):
        pass
    with pytest.raises(ObjectLost), store.local("t/a"):
        pass


def test_the_address_of_a_folder_ends_in_a_slash(tmp_path: Path):
    assert LocalStore(tmp_path).uri("trades/0xa/") == f"{tmp_path}/trades/0xa/"
    assert LocalStore(tmp_path).uri("trades/0xa") == f"{tmp_path}/trades/0xa"


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


def test_a_disk_that_takes_empty_files_and_no_bytes_is_not_writable(tmp_path: Path):
    store = LocalStore(tmp_path)
    store.check_writable()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreError, match=f"cannot write to {tmp_path}"):
            store.check_writable()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / ".incoming").iterdir()) == []


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Path]:
    """A store with a link out of it, a loop, a FIFO and a socket, each where an object could be."""
    folder = tmp_path / "store" / "t"
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"of others")
    LocalStore(tmp_path / "store").create("t/a", b"xyz")
    (folder / "folder").symlink_to(tmp_path / "outside")
    (folder / "link").symlink_to(tmp_path / "outside" / "secret")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "socket"))
        yield tmp_path / "store"


def test_links_loops_and_pipes_are_named_and_never_followed(odd: Path):
    store = LocalStore(odd)
    assert [item.name for item in store.list("t/")] == ["t/a"]
    assert dict(store.left_out("t/")) == {
        "t/folder": "a link",
        "t/link": "a link",
        "t/loop": "a link",
        "t/pipe": "a FIFO",
        "t/socket": "a socket",
    }


@pytest.mark.parametrize("name", ["t/link", "t/pipe", "t/socket", "t/folder/secret", "t/loop/a"])
def test_an_object_that_is_a_link_or_a_pipe_is_neither_read_nor_written_nor_waited_for(
    odd: Path, name: str
):
    store, outside = LocalStore(odd), odd.parent / "outside"
    with pytest.raises(ObjectLost, match="which does not belong here"):
        store.read(name)
    with pytest.raises(ObjectLost), store.local(name):
        pass
    with pytest.raises(ObjectDamaged, match="remove it"):
        store.create(name, b"xyz")
    with pytest.raises(ObjectDamaged):
        store.delete(name)
    with pytest.raises(ObjectDamaged):
        list(store.list("t/folder/"))
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"secret": b"of others"}
    assert [path.name for path in (odd / ".incoming").iterdir()] == []


def test_leftovers_are_not_cleared_out_of_a_folder_that_is_linked_in(tmp_path: Path):
    theirs = tmp_path / "theirs" / "old"
    theirs.parent.mkdir()
    theirs.touch()
    os.utime(theirs, (0, 0))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".incoming").symlink_to(theirs.parent)
    with pytest.raises(ObjectDamaged):
        LocalStore(tmp_path / "store").check_writable()
    assert theirs.exists()


def test_the_store_itself_may_be_a_link(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    store = LocalStore(tmp_path / "store")
    store.create("t/a", b"xyz")
    assert [item.name for item in store.list("t/")] == ["t/a"]


BUSY = """
import os, sys, threading
from pathlib import Path
from polycopy_assets.store.local import LocalStore
store = LocalStore(Path(sys.argv[1]))
def write(thread):
    for number in range(10**6):
        store.create(f"t/{thread}/{number}", b"x")
for thread in range(8):
    threading.Thread(target=write, args=(thread,)).start()
"""


def test_whether_a_store_is_writable_can_be_asked_while_another_process_writes(tmp_path: Path):
    store = LocalStore(tmp_path)
    with subprocess.Popen([sys.executable, "-c", BUSY, str(tmp_path)]) as process:
        try:
            while not list(tmp_path.glob("t/*/*")):
                time.sleep(0.01)
            ends = time.monotonic() + 4
            while time.monotonic() < ends:
                store.check_writable()
        finally:
            process.kill()


def test_leftovers_of_crashes_are_cleared_away_and_folders_are_not(tmp_path: Path):
    incoming = tmp_path / ".incoming"
    (incoming / "folder").mkdir(parents=True)
    for name, age in (("old", 2 * 86_400), ("new", 60), ("folder", 2 * 86_400)):
        if name != "folder":
            (incoming / name).touch()
        moment = time.time() - age
        os.utime(incoming / name, (moment, moment))
    LocalStore(tmp_path).check_writable()
    assert {path.name for path in incoming.iterdir()} == {"new", "folder"}


def test_an_object_that_may_not_be_deleted_says_nothing_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = LocalStore(tmp_path)
    store.create("t/a", b"xyz")

    def refused(path: Path, *, missing_ok: bool = False) -> None:
        del missing_ok
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(ObjectKept, match=r"cannot delete .*t/a: Operation not permitted"):
        store.delete("t/a")
    assert store.read("t/a") == b"xyz"
