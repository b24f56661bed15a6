"""What every store promises, on a directory and on Google Cloud Storage alike."""

import threading
from pathlib import Path

import pytest

from polycopy_assets.errors import ObjectExists, ObjectLost, StoreError
from polycopy_assets.store.base import Store, crc32c
from polycopy_assets.store.local import LocalStore


def test_of_thirty_who_create_the_same_name_one_wins_and_its_bytes_stand(store: Store):
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


def test_the_same_bytes_again_are_no_error_and_others_are(store: Store, tmp_path: Path):
    store.create("a/b", b"one")
    store.create("a/b", b"one")
    with pytest.raises(ObjectExists, match="a/b"):
        store.create("a/b", b"two")
    (tmp_path / "same").write_bytes(b"one")
    (tmp_path / "other").write_bytes(b"eno")
    store.create_from("a/b", tmp_path / "same")
    with pytest.raises(ObjectExists, match="a/b"):
        store.create_from("a/b", tmp_path / "other")
    assert store.read("a/b") == b"one"


def test_listing_is_by_prefix_and_sorted_and_tells_sizes(store: Store):
    for name in ("t/b/2", "t/a", "t/b/10", "t/c", "tt/x"):
        store.create(name, b"xyz")
    assert [(i.name, i.size) for i in store.list("t/")] == [
        ("t/a", 3),
        ("t/b/10", 3),
        ("t/b/2", 3),
        ("t/c", 3),
    ]
    # Where the listing tells checksums, they are those that records carry.
    assert {item.crc32c for item in store.list("t/")} <= {None, crc32c(b"xyz")}
    assert isinstance(store, LocalStore) or all(item.crc32c for item in store.list("t/"))
    assert [item.name for item in store.list("t/b/")] == ["t/b/10", "t/b/2"]
    assert list(store.list("nothing/")) == []


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a//b", "a\0b"])
def test_a_name_does_not_leave_the_store(store: Store, name: str):
    with pytest.raises(StoreError, match="not an object name"):
        store.create(name, b"")


def test_what_is_not_there_is_lost_and_not_empty(store: Store):
    with pytest.raises(ObjectLost, match="a/b"):
        store.read("a/b")
    with pytest.raises(ObjectLost, match="a/b"), store.local("a/b"):
        pass
    store.create("a/b", b"")
    assert store.read("a/b") == b""


def test_a_local_file_becomes_an_object_and_comes_back_as_one(store: Store, tmp_path: Path):
    content = bytes(range(256)) * 40_000  # above 8 MiB, so it does not go up in one request
    (tmp_path / "part").write_bytes(content)
    store.create_from("p/1", tmp_path / "part", {"rows": "7"})
    with store.local("p/1") as path:
        assert path.read_bytes() == content
    assert (tmp_path / "part").read_bytes() == content
    store.delete("p/1")
    store.delete("p/1")
    assert list(store.list("p/")) == []


def test_a_store_is_checked_before_work_begins_and_stays_as_it_was(store: Store):
    store.check_writable()
    store.check_writable()
    assert list(store.list("trades/")) == list(store.list("combined/")) == []
