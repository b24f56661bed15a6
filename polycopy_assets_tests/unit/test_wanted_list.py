"""The wanted list in the store: several writers, folding, damage, and its size."""

import gzip
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.errors import InvalidWallet, StoreError
from polycopy_assets.record.wanted import register_wanted
from polycopy_assets.store.base import Stored
from polycopy_assets.store.local import LocalStore
from polycopy_assets.store.wanted import (
    FOLD_AFTER,
    Decide,
    Wanted,
    change_wanted,
    read_wanted,
)
from polycopy_assets.trades.wanted import (
    WANTED,
    Entry,
    State,
    pack,
    unpack,
    wanted_name,
)
from polycopy_assets_tests.fakes.counting import CountingStore


def wallet(number: int) -> str:
    return f"0x{number:040x}"


def stating(number: int, state: State = State.WANTED, at: int = 1) -> Decide:
    """States it, unless the list does already."""

    def decide(found: Wanted) -> list[Entry]:
        new = Entry(wallet(number), state, at)
        return [] if found.state(new.wallet) is state else [new]

    return decide


def store(root: Path) -> LocalStore:
    return LocalStore(root / "store")


def names(of: LocalStore) -> list[str]:
    return [item.name for item in of.list(WANTED)]


def test_nothing_is_known_of_a_new_store_and_reading_writes_nothing(tmp_path: Path):
    found = read_wanted(store(tmp_path))
    assert (dict(found.entries), found.last, found.wanted, found.retired) == ({}, 0, [], {})
    assert change_wanted(store(tmp_path), lambda known: []) == []
    assert names(store(tmp_path)) == []


def test_a_later_statement_replaces_an_earlier_one_and_a_repeat_writes_nothing(tmp_path: Path):
    there = store(tmp_path)
    for state in (State.WANTED, State.REMOVED, State.WANTED, State.PURGING, State.PURGED):
        assert change_wanted(there, stating(7, state)) == [Entry(wallet(7), state, 1)]
        assert change_wanted(there, stating(7, state)) == []
        assert read_wanted(there).state(wallet(7)) is state
    assert len(names(there)) == 5
    assert read_wanted(there).retired == {wallet(7): State.PURGED}


def test_years_of_changes_leave_few_objects_and_few_reads(tmp_path: Path):
    there, draw = store(tmp_path), random.Random(5)
    expected: dict[str, State] = {}
    for step in range(150):
        number, state = draw.randrange(60), draw.choice([State.WANTED, State.REMOVED])
        change_wanted(there, stating(number, state, step))
        expected[wallet(number)] = state
        assert len(names(there)) <= 2 * FOLD_AFTER + 3
    counting = CountingStore(there.root)
    found = read_wanted(counting)
    assert {w: item.state for w, item in found.entries.items()} == expected
    assert counting.reads.total() <= FOLD_AFTER + 1
    assert min(names(there)) > wanted_name(30), "old objects were not deleted"


def test_what_several_writers_state_at_once_all_counts(tmp_path: Path):
    with ThreadPoolExecutor(6) as threads:
        wrote = list(threads.map(lambda n: change_wanted(store(tmp_path), stating(n)), range(90)))
    assert all(len(each) == 1 for each in wrote)
    assert read_wanted(store(tmp_path)).wanted == [wallet(n) for n in range(90)]
    assert not read_wanted(store(tmp_path)).damaged


class Asleep:
    """A store whose first creation of a change waits until `meanwhile` has run."""

    def __init__(self, there: LocalStore, meanwhile: Callable[[], object]) -> None:
        self._there = there
        self._meanwhile: Callable[[], object] | None = meanwhile

    def __getattr__(self, name: str) -> object:
        return getattr(self._there, name)

    def create(self, name: str, data: bytes) -> None:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        self._there.create(name, data)


def test_a_writer_that_slept_while_its_number_was_folded_and_deleted_writes_again(tmp_path: Path):
    there = store(tmp_path)
    change_wanted(there, stating(1))

    def others() -> None:
        for number in range(100, 100 + 3 * FOLD_AFTER):
            change_wanted(there, stating(number))
        assert wanted_name(2) not in names(there)

    change_wanted(Asleep(there, others), stating(2))  # type: ignore[arg-type]
    assert read_wanted(there).state(wallet(2)) is State.WANTED
    assert len(read_wanted(there).wanted) == 2 + 3 * FOLD_AFTER


def test_a_statement_that_depends_on_the_state_is_not_made_if_that_has_changed(tmp_path: Path):
    """The end of a purge, while the wallet is added again."""
    there = store(tmp_path)
    change_wanted(there, stating(1, State.PURGING))

    def ends(found: Wanted) -> list[Entry]:
        going = found.state(wallet(1)) is State.PURGING
        return [Entry(wallet(1), State.PURGED, 1)] if going else []

    added = Asleep(there, lambda: change_wanted(there, stating(1)))
    assert change_wanted(added, ends, sleep=lambda _: None) == []  # type: ignore[arg-type]
    assert read_wanted(there).state(wallet(1)) is State.WANTED


class Killed(BaseException):
    """The process is gone."""


class Dying:
    """A store whose process is killed before change number `at`."""

    def __init__(self, there: LocalStore, at: int) -> None:
        self._there, self._left = there, at

    def __getattr__(self, name: str) -> object:
        return getattr(self._there, name)

    def _may_die(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed

    def create(self, name: str, data: bytes) -> None:
        self._may_die()
        self._there.create(name, data)

    def delete(self, name: str) -> None:
        self._may_die()
        self._there.delete(name)


@pytest.mark.parametrize("at", [0, 1, 2, 3, FOLD_AFTER, FOLD_AFTER + 3])
def test_a_kill_at_any_change_of_the_store_loses_nothing_that_was_stated(tmp_path: Path, at: int):
    """The change after which the list is folded for the second time: it deletes too."""
    there = store(tmp_path)
    before = 2 * (FOLD_AFTER + 2) - 1
    for number in range(before):
        change_wanted(there, stating(number))
    try:
        change_wanted(Dying(there, at), stating(before))  # type: ignore[arg-type]
        ended = True
    except Killed:
        ended = False
    known = set(read_wanted(there).wanted)
    assert {wallet(n) for n in range(before)} <= known
    assert wallet(before) in known or at == 0
    assert ended or at <= FOLD_AFTER + 2, "the fold was not reached"
    change_wanted(there, stating(before))
    change_wanted(there, stating(before + 1))
    assert len(read_wanted(there).wanted) == before + 2
    assert not read_wanted(there).damaged


def test_a_damaged_object_loses_its_own_changes_only_and_is_set_aside(tmp_path: Path):
    there = store(tmp_path)
    for number in range(5):
        change_wanted(there, stating(number))
    (there.root / wanted_name(2)).write_bytes(b"rubbish")
    (there.root / wanted_name(4)).unlink()
    (there.root / "wanted/notes.txt").write_text("mine")
    found = read_wanted(there)
    assert found.wanted == [wallet(n) for n in (0, 2, 4)]
    assert found.damaged[wanted_name(4)] == "is missing"
    assert "is damaged" in found.damaged[wanted_name(2)]
    assert found.strange == ("wanted/notes.txt",)
    change_wanted(there, stating(9))
    assert not read_wanted(there).damaged
    assert read_wanted(there).wanted == [wallet(n) for n in (0, 2, 4, 9)]
    assert [item.name for item in there.list("quarantine/")]


def test_a_damaged_whole_object_loses_nothing_because_the_one_before_it_is_kept(tmp_path: Path):
    there = store(tmp_path)
    for number in range(5 * FOLD_AFTER):
        change_wanted(there, stating(number))
    base = read_wanted(there).base
    (there.root / wanted_name(base)).write_bytes(b"")
    assert len(read_wanted(there).wanted) == 5 * FOLD_AFTER
    change_wanted(there, stating(1_000))
    assert len(read_wanted(there).wanted) == 5 * FOLD_AFTER + 1
    assert not read_wanted(there).damaged


@pytest.mark.parametrize(("number", "room"), [(4_000_000, True), (9_999_999_999, False)])
def test_an_object_with_a_number_out_of_line_is_read_in_no_time_and_never_hides_a_change(
    tmp_path: Path, number: int, *, room: bool
):
    """One that a person has put there: the reader once counted all numbers below it."""
    there = store(tmp_path)
    change_wanted(there, stating(1))
    there.create(wanted_name(number), pack([Entry(wallet(2), State.WANTED, 1)], whole=False))
    found = read_wanted(there)
    assert found.wanted == [wallet(1), wallet(2)]
    assert found.damaged == {wanted_name(2): f"is missing, and the {number - 3:,} after it"}
    if not room:
        with pytest.raises(StoreError, match="no number left"):
            change_wanted(there, stating(3))
        return
    change_wanted(there, stating(3))
    assert len(read_wanted(there).wanted) == 3
    assert not read_wanted(there).damaged


class Torn:
    """A store whose first listing lacks one object: the directory is changed meanwhile."""

    def __init__(self, there: LocalStore, name: str) -> None:
        self._there, self._name = there, name

    def __getattr__(self, name: str) -> object:
        return getattr(self._there, name)

    def list(self, prefix: str) -> list[Stored]:
        name, self._name = self._name, ""
        return [item for item in self._there.list(prefix) if item.name != name]


def test_a_listing_that_lacks_an_object_loses_no_change(tmp_path: Path):
    there = store(tmp_path)
    for number in range(4):
        change_wanted(there, stating(number))
    torn = Torn(there, wanted_name(3))
    assert len(read_wanted(torn).wanted) == 4  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "0xABC", wallet(1).upper(), f"{wallet(1)}\n", "../../x"])
def test_a_text_that_is_no_wallet_is_refused_before_it_makes_an_object_unreadable(
    tmp_path: Path, text: str
):
    there = store(tmp_path)
    with pytest.raises(InvalidWallet, match="not a wallet"):
        change_wanted(
            there, lambda _: [Entry(wallet(1), State.WANTED, 1), Entry(text, State.WANTED, 1)]
        )
    assert names(there) == []


def test_registering_takes_time_in_proportion_to_the_wallets(tmp_path: Path):
    """It once built the list of removed wallets anew for each row: minutes for 5,000."""
    there, every = store(tmp_path), [wallet(number) for number in range(20_000)]
    entries = [
        Entry(each, State.REMOVED if n % 100 == 0 else State.WANTED, 1)
        for n, each in enumerate(every)
    ]
    change_wanted(there, lambda _: entries)
    table = LocalTable(every)
    with dg.DagsterInstance.ephemeral() as instance:
        started = time.process_time()
        found = register_wanted(instance, there, table)  # type: ignore[arg-type]
        assert (len(found.new), len(found.retired)) == (19_800, 200)
        assert time.process_time() - started < 10


class LocalTable:
    """`traders` with rows that never change."""

    def __init__(self, rows: list[str]) -> None:
        self._rows = rows

    def traders(self) -> list[str]:
        return self._rows


@pytest.mark.parametrize("header", [b'{"form":2,"whole":false}', b'{"form":2,"whole":"all"}'])
def test_what_a_newer_version_wrote_is_refused(tmp_path: Path, header: bytes):
    there = store(tmp_path)
    there.create(wanted_name(1), pack([], whole=False))
    there.create(wanted_name(2), gzip.compress(header + b"\n[1,2]\n"))
    with pytest.raises(StoreError, match="newer version of polycopy"):
        read_wanted(there)
    with pytest.raises(StoreError, match="newer version of polycopy"):
        change_wanted(there, stating(1))


def test_a_hundred_thousand_wallets_are_one_small_object(tmp_path: Path):
    there = store(tmp_path)
    every = [
        Entry(wallet(n * 7919**9 % 16**40), State.WANTED, 1_700_000_000) for n in range(100_000)
    ]
    change_wanted(there, lambda found: [] if found.entries else every)
    change_wanted(there, stating(3))
    assert len(read_wanted(there).wanted) == 100_001
    (first, *_) = there.list(WANTED)
    assert first.size < 4_000_000
    data = there.read(first.name)
    assert unpack(data).entries == every
    assert pack(every, whole=False) == data, "the same entries gave other bytes"
