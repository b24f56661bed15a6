"""Coverage objects: the latest statement counts; what is lost or damaged is not believed."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycopy_assets.errors import ContractBroken, ObjectKept, StoreError
from polycopy_assets.store.coverage import FOLD_AFTER, CoverageWriter, read_coverage
from polycopy_assets.trades.coverage import NOTHING, Covered, extended, pack, unpack
from polycopy_assets.trades.interval import Interval
from polycopy_assets_tests.of_trades import (
    COVERAGE,
    Directory,
    coverage_name,
    parse_coverage_name,
)

ONE, TWO = ("0x" + digit * 40 for digit in "12")
RUN = "0123abcd-0000-0000-0000-000000000000"

statements = st.lists(
    st.builds(
        lambda wallet, start, length: Covered(wallet, start, start + length),
        st.sampled_from([ONE, TWO]),
        st.integers(0, 10**9),
        st.integers(1, 10**9),
    ),
    max_size=20,
)


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "store")


def spans(store: Directory) -> dict[str, Interval]:
    return {wallet: item.span for wallet, item in read_coverage(store).statements.items()}


def objects(store: Directory) -> list[str]:
    return [item.name for item in store.list(COVERAGE)]


@given(statements)
def test_what_is_packed_is_unpacked(every: list[Covered]):
    assert unpack(pack(every)) == every


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip",
        pack([])[:-3],
        pack([Covered("0xABC", 1, 2)]),
        pack([Covered(ONE, 5, 5)]),
        pack([Covered(ONE, -1, 5)]),
        pack([Covered(ONE, 1, 10**10)]),
    ],
)
def test_what_cannot_be_a_statement_is_refused(data: bytes):
    with pytest.raises(ContractBroken):
        unpack(data)


def test_names_have_a_number_and_the_run():
    name = coverage_name(7, RUN, "89abcdef0123")
    assert name == "coverage/00000007-0123abcd-89abcdef.jsonl.gz"
    assert parse_coverage_name(name) == (7, "0123abcd")
    assert parse_coverage_name("coverage/7-0123abcd-89abcdef.jsonl.gz") is None


@pytest.mark.parametrize(
    ("stated", "until"),
    [
        (None, 10),
        (Interval(10, 20), 20),
        (Interval(5, 20), 20),
        (Interval(0, 5), 10),
        (Interval(11, 20), 10),
    ],
)
def test_a_statement_extends_what_it_touches(stated: Interval | None, until: int):
    assert extended(10, stated) == until


def test_a_later_statement_replaces_an_earlier_one(store: Directory):
    writer = CoverageWriter(store, RUN)
    writer.add([Covered(ONE, 0, 10), Covered(TWO, 0, 10)])
    writer.add([Covered(ONE, 5, 20)])
    assert spans(store) == {ONE: Interval(5, 20), TWO: Interval(0, 10)}
    writer.forget([TWO, "0x" + "3" * 40])
    assert spans(store) == {ONE: Interval(5, 20)}
    assert writer.of(TWO) is None
    assert CoverageWriter(store, RUN).of(ONE) == Interval(5, 20)
    writer.forget([TWO])
    assert len(objects(store)) == 3, "nothing is written if there is nothing to take back"


def test_a_statement_of_nothing_takes_back_what_was_known(store: Directory):
    writer = CoverageWriter(store, RUN)
    writer.add([Covered(ONE, 0, 10)])
    writer.add([Covered(ONE, *NOTHING)])
    assert writer.of(ONE) is None
    assert spans(store) == {}


def test_where_an_object_is_missing_nothing_before_it_counts(store: Directory):
    writer = CoverageWriter(store, RUN)
    writer.add([Covered(ONE, 0, 10), Covered(TWO, 0, 10)])
    taken_back = writer.add([Covered(ONE, *NOTHING)])
    writer.add([Covered(TWO, 0, 20)])
    store.delete(taken_back)
    assert spans(store) == {TWO: Interval(0, 20)}


def test_where_an_object_is_damaged_nothing_before_it_counts_and_folding_sets_it_aside(
    store: Directory,
):
    writer = CoverageWriter(store, RUN)
    writer.add([Covered(ONE, 0, 10), Covered(TWO, 0, 10)])
    damaged = writer.add([Covered(ONE, *NOTHING)])
    writer.add([Covered(TWO, 0, 20)])
    (store.root / damaged).write_bytes(b"torn")
    found = read_coverage(store)
    assert spans(store) == {TWO: Interval(0, 20)}
    assert damaged in found.damaged
    CoverageWriter(store, RUN).fold()
    assert spans(store) == {TWO: Interval(0, 20)}
    assert not read_coverage(store).damaged
    assert [item.name for item in store.list("quarantine/")]


def test_other_objects_are_named_and_left_alone(store: Directory):
    store.create("coverage/notes.txt", b"mine")
    assert read_coverage(store).strange == ("coverage/notes.txt",)
    CoverageWriter(store, RUN).fold()
    assert store.read("coverage/notes.txt") == b"mine"


def test_a_statement_that_would_not_be_found_is_not_written(store: Directory):
    store.create(coverage_name(99_999_999, RUN, "ab" * 4), pack([Covered(ONE, 0, 10)]))
    writer = CoverageWriter(store, RUN)
    for write in (lambda: writer.add([Covered(TWO, 0, 10)]), lambda: writer.fold(most=0)):
        with pytest.raises(StoreError, match=r"coverage/ has no number left: .* move it elsewhere"):
            write()
    with pytest.raises(StoreError, match="has no number left"):
        writer.forget([ONE])
    assert spans(store) == {ONE: Interval(0, 10)}, "nothing was taken back"
    assert len(objects(store)) == 1


def filled(store: Directory) -> CoverageWriter:
    writer = CoverageWriter(store, RUN)
    for number in range(FOLD_AFTER + 1):
        writer.add([Covered(ONE, 0, 10 + number)])
    writer.add([Covered(TWO, 0, 10)])
    writer.forget([TWO])
    return writer


def test_many_objects_are_folded_into_one(store: Directory):
    writer = filled(store)
    before = spans(store)
    writer.fold()
    assert len(objects(store)) == 1
    assert spans(store) == before == {ONE: Interval(0, 10 + FOLD_AFTER)}
    writer.fold()
    assert len(objects(store)) == 1
    writer.add([Covered(TWO, 0, 5)])
    assert spans(store) == {**before, TWO: Interval(0, 5)}


@pytest.mark.parametrize("deleted", range(FOLD_AFTER + 3))
def test_a_fold_that_ends_anywhere_says_the_same(
    store: Directory, deleted: int, monkeypatch: pytest.MonkeyPatch
):
    writer = filled(store)
    before = spans(store)
    delete, left = store.delete, [deleted]

    def ends(name: str) -> None:
        if not left[0]:
            raise StoreError("the process ends here")
        left[0] -= 1
        delete(name)

    monkeypatch.setattr(store, "delete", ends)
    with pytest.raises(StoreError):
        writer.fold()
    monkeypatch.undo()
    assert spans(store) == before
    CoverageWriter(store, RUN).fold()
    assert spans(store) == before


def test_a_reader_that_meets_a_fold_lists_again(store: Directory, monkeypatch: pytest.MonkeyPatch):
    writer = filled(store)
    read, folded = store.read, [False]

    def meets(name: str) -> bytes:
        if not folded[0]:
            folded[0] = True
            writer.fold()
        return read(name)

    monkeypatch.setattr(store, "read", meets)
    assert spans(store) == {ONE: Interval(0, 10 + FOLD_AFTER)}


def test_a_reader_ends_while_a_fold_deletes_one_object_after_the_other(
    store: Directory, monkeypatch: pytest.MonkeyPatch
):
    writer = CoverageWriter(store, RUN)
    wallets = [f"0x{number:040x}" for number in range(60)]
    for wallet in wallets:
        writer.add([Covered(wallet, 0, 10)])
    read, old = store.read, [*objects(store)]
    writer._create([Covered(wallet, 0, 10) for wallet in wallets])  # a fold begins

    def meets(name: str) -> bytes:
        if old:
            store.delete(old.pop(0))  # and deletes as fast as we read
        return read(name)

    monkeypatch.setattr(store, "read", meets)
    assert set(spans(store)) == set(wallets)


def test_an_object_that_cannot_be_deleted_stays_alone(
    store: Directory, monkeypatch: pytest.MonkeyPatch
):
    writer = filled(store)
    before, delete = spans(store), store.delete
    held = objects(store)[0]

    def refuses(name: str) -> None:
        if name == held:
            raise ObjectKept(f"{name} is under a hold")
        delete(name)

    monkeypatch.setattr(store, "delete", refuses)
    writer.fold()
    assert objects(store)[0] == held
    assert len(objects(store)) == 2
    assert spans(store) == before
    for number in range(3):
        CoverageWriter(store, RUN).add([Covered(TWO, 0, 10 + number)])
        CoverageWriter(store, RUN).fold()
    assert spans(store) == {**before, TWO: Interval(0, 12)}
    assert len(objects(store)) == 5


def test_what_was_taken_back_is_not_believed_after_the_newest_object_is_lost(store: Directory):
    CoverageWriter(store, RUN).add([Covered(ONE, 0, 2 * 10**9), Covered(TWO, 0, 10)])
    CoverageWriter(store, RUN).forget_beyond(10**9)
    store.delete(objects(store)[-1])
    assert ONE not in spans(store)


def test_the_latest_statement_is_that_of_the_sources_latest_clock(store: Directory):
    writer = CoverageWriter(store, RUN)
    assert read_coverage(store).latest is None
    writer.add([Covered(ONE, 0, 20, at=7), Covered(TWO, 0, 30, at=6)])
    assert read_coverage(store).latest == Covered(ONE, 0, 20, at=7)


def test_the_statements_of_a_run_can_be_found_until_they_are_folded(store: Directory):
    def run(run_id: str, every: Sequence[Covered]) -> None:
        CoverageWriter(store, run_id).add(every)

    run("aaaaaaaa-1", [Covered(ONE, 0, 10)])
    run("bbbbbbbb-2", [Covered(TWO, 0, 10)])
    writer = CoverageWriter(store, "cccccccc-3")
    assert writer.stated_by(["aaaaaaaa-1", "dddddddd-4"]) == {ONE: Interval(0, 10)}
    assert writer.stated_by([]) == {}
    writer.forget([ONE])
    assert CoverageWriter(store, "eeeeeeee-5").stated_by(["aaaaaaaa-1", "cccccccc-3"]) == {}
