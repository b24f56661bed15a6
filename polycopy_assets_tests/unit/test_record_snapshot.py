"""Snapshots of the record: what another version or a stranger wrote is not believed."""

import gzip
import re
from pathlib import Path

import msgspec
import pytest

from polycopy_assets.errors import Kind, StoreError
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.record.attempts import Attempt
from polycopy_assets.record.snapshot import (
    KEPT,
    NOTHING,
    Damaged,
    Header,
    Line,
    Load,
    State,
    decode,
    newest,
    write,
)
from polycopy_assets.store.local import LocalStore
from polycopy_assets_tests.of_trades import Directory

WALLET = "0x" + "a" * 40


def packed(header: object, *lines: object) -> bytes:
    return gzip.compress(msgspec.json.Encoder().encode_lines([header, *lines]))


@pytest.mark.parametrize(
    "item",
    [
        ("int", "12"),
        ("int", 1.5),
        ("int", None),
        ("json", 5),
        ("text", 5),
        ("time", "2026-11-29"),
        ("time", None),
        ("time", 5),
        ("time", True),
        ("int", True),
        ("path", "/"),
    ],
    ids=str,
)
def test_metadata_that_dagster_would_not_take_is_damage(item: tuple[str, object]):
    sound = Line(WALLET, metadata={"a": ("int", 1), "b": ("time", 1.5), "c": ("json", [])})
    found = decode(TRADES, "s", packed(Header(form=1, wallets=1), sound))
    assert dict(found.state.lines) == {WALLET: sound}
    with pytest.raises(Damaged, match="1 wallet in 2 lines, not 2"):
        decode(TRADES, "s", packed(Header(form=1, wallets=2), sound, sound))
    wrong = Line(WALLET, metadata={"a": ("int", 1), "b": item})
    with pytest.raises(Damaged, match=f"is damaged: .*{WALLET}"):
        decode(TRADES, "s", packed(Header(form=1, wallets=1), wrong))


def test_what_a_newer_version_wrote_is_refused_whatever_it_is_and_stays(tmp_path: Path):
    store, said = Directory(tmp_path / "store"), list[str]()
    name = write(store, NOTHING)
    for header in ({"form": 2}, {"form": 2, "wallets": [1]}, {"form": 2, "wallets": 0}):
        (tmp_path / "store" / name).write_bytes(packed(header, {"wallet": WALLET}))
        with pytest.raises(StoreError, match=r"newer version of polycopy \(form 2\)"):
            newest(store, said.append, change=True)
    assert [item.name for item in store.list(TRADES.names.snapshots)] == [name]
    assert not list(store.list("quarantine/"))
    assert said == []


def test_a_snapshot_that_another_process_replaces_meanwhile_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store, read, lost = Directory(tmp_path / "store"), LocalStore.read, list[str]()
    write(store, NOTHING)

    def replaced(self: LocalStore, name: str) -> bytes:
        if not lost:
            lost.append(name)
            write(store, NOTHING)
            store.delete(name)
        return read(self, name)

    monkeypatch.setattr(LocalStore, "read", replaced)
    found = newest(store, print, change=True)
    assert found.name > lost[0]
    assert [item.name for item in store.list(TRADES.names.snapshots)] == [found.name]


def test_the_newest_counts_and_a_number_that_would_not_be_found_is_not_written(tmp_path: Path):
    store = Directory(tmp_path / "store")
    names = [write(store, NOTHING) for _ in range(KEPT + 2)]
    assert [item.name for item in store.list(TRADES.names.snapshots)] == names[-KEPT:]
    assert newest(store, print, change=False).name == names[-1]
    last = f"{TRADES.names.snapshots}99999999-{'a' * 8}.jsonl.gz"
    store.create(last, b"of a stranger")
    with pytest.raises(StoreError, match="has no number left"):
        write(store, NOTHING)
    assert newest(store, print, change=True).name == names[-1], "the stranger's is set aside"
    assert newest(store, print, change=False).name < write(store, NOTHING) < last


def test_a_snapshot_of_trades_is_written_as_it_always_was(tmp_path: Path):
    store = Directory(tmp_path / "store")
    attempt = Attempt(wallet=WALLET, number=2, at=1.5, kind=Kind.PERMANENT, reason="why")
    line = Line(WALLET, 1.5, "rows-3-x", {"new_rows": ("int", 3)}, 7, attempt, "c", "d")
    loaded = [Load("trades", "batches-1", "r")]
    header = Header(form=1, wallets=1, polycopy="1", loads=loaded, refetching={WALLET: "begun"})
    name = write(store, State(header, {WALLET: line}))
    assert re.fullmatch(r"record/snapshots/00000001-[0-9a-f]{8}\.jsonl\.gz", name)
    assert gzip.decompress(store.read(name)).decode().replace(WALLET, "W") == (
        '{"form":1,"wallets":1,"polycopy":"1","loads":[["trades","batches-1","r"]],'
        '"refetching":{"W":"begun"}}\n'
        '["W",1.5,"rows-3-x",{"new_rows":["int",3]},7,'
        '{"wallet":"W","number":2,"at":1.5,"kind":"permanent","reason":"why"},"c","d"]\n'
    )
