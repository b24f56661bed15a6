"""A page that is read and cut in one go is what it is row by row."""

import gzip
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycopy_assets.errors import ContractBroken
from polycopy_assets.feeds.trades.shapes import SHAPES
from polycopy_assets.sources.rows import Read, read_rows
from polycopy_assets.trades.cutter import (
    REMEMBERED,
    SEGMENT_BYTES,
    SHARE,
    SMALL_BYTES,
    Cutter,
    growing,
)
from polycopy_assets.trades.page import Row, Rows
from polycopy_assets_tests.unit.test_one_reading import SOURCES, WALLET, members, raw
from polycopy_assets_tests.unit.test_walk import row

CHANGES = {
    "polymarket": [{}, {"outcome": "null"}, {"price": "1.5"}, {"size": "0"}, {"price": "-1"}],
    "dome": [{}, {"token_label": "null"}, {"price": "1.5"}, {"shares_normalized": "-2"}],
}


def served(source: str) -> st.SearchStrategy[list[bytes]]:
    """Pages: ordinary rows, strange ones, and some with fields that nobody listed."""
    extra = st.one_of(st.just([]), st.just([]), members(st.sampled_from(["a", "icon", "taker"])))
    rows = st.tuples(
        st.sampled_from(CHANGES[source]), extra, st.sampled_from([b"", b"\n ", b"\r\n", b"\r"])
    ).map(lambda each: raw(source, *each[1], **each[0]).replace(b",", b"," + each[2]))
    return st.lists(rows, max_size=5)


def together(source: str, rows: Sequence[bytes]) -> Read:
    return read_rows(SHAPES.of(source), [msgspec.Raw(each) for each in rows])


@pytest.mark.parametrize("source", SOURCES)
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_page_says_what_its_rows_say(source: str, data: st.DataObject):
    rows = data.draw(served(source))
    try:
        alone = [together(source, [each]) for each in rows]
    except ContractBroken:
        with pytest.raises(ContractBroken, match=r"row \d of a page"):
            together(source, rows)
        return
    page = together(source, rows)
    assert list(page.rows) == [read.rows[0] for read in alone]
    assert page.rows.lines == b"".join(read.rows.lines for read in alone)
    assert page.rows.lines.count(b"\n") == len(rows)
    assert b"\r" not in page.rows.lines
    assert page.unknown_fields == sum((Counter(r.unknown_fields) for r in alone), Counter())
    assert page.oddities == sum((Counter(r.oddities) for r in alone), Counter())


@pytest.mark.parametrize("source", SOURCES)
def test_the_row_that_is_wrong_is_named_however_many_are_right(source: str):
    rows = [raw(source)] * 700 + [raw(source, side='"HOLD"')] + [raw(source)] * 10
    with pytest.raises(ContractBroken, match=r"row 700 of a page.*side"):
        together(source, rows)


@pytest.mark.parametrize("source", SOURCES)
def test_an_unknown_field_of_one_row_is_counted_once(source: str):
    rows = [*[raw(source)] * 9, raw(source, '"surprise":[1]')]
    assert together(source, rows).unknown_fields == {"surprise": 1}


def test_every_listed_field_may_hold_anything_and_no_other_field_is_listed():
    for shape in map(SHAPES.of, SHAPES.sources):
        assert set(shape._listed_only.type.__struct_encode_fields__) == shape.listed
    odd = raw("polymarket", icon='{"a":[null]}', bio="1e400", profile_image="null")
    assert together("polymarket", [odd]).unknown_fields == {}


@given(st.lists(st.integers(100, 120), min_size=1, max_size=60), st.data())
@settings(max_examples=200, deadline=None)
def test_the_drafts_do_not_depend_on_the_pages(times: list[int], data: st.DataObject):
    rows = [row(t, n) for n, t in enumerate(sorted(times, reverse=True))]
    by_row, by_page = Cutter(200, "memory", 1), Cutter(200, "memory", 1)
    alone = [draft for each in rows if (draft := by_row.add(each))] + [by_row.finish(100)]
    paged, at = [], 0
    while at < len(rows):
        size = data.draw(st.integers(1, 20))
        paged += by_page.add_all(Rows.of(rows[at : at + size]))
        at += size
    assert [*paged, by_page.finish(100)] == alone


def test_a_transaction_with_two_times_is_refused_within_a_page_and_across_pages():
    first = [Row(WALLET, 150 - n, f"0x{n}", b"{}") for n in range(10)]
    again = [Row(WALLET, 120, "0x9", b"{}"), Row(WALLET, 119, "0x3", b"{}")]
    at_once, in_turn = Cutter(200, "memory"), Cutter(200, "memory")
    assert list(in_turn.add_all(Rows.of(first))) == []
    with pytest.raises(ContractBroken, match="rows at 141 and at 120"):
        list(in_turn.add_all(Rows.of(again)))
    with pytest.raises(ContractBroken, match="rows at 141 and at 120"):
        list(at_once.add_all(Rows.of(first + again)))


def test_it_is_refused_however_small_the_segments_in_between_are():
    cutter = Cutter(10**6, "memory", 1)
    rows = [Row(WALLET, 10**6 - 1 - n, f"0x{n}", b"{}") for n in range(REMEMBERED - 1)]
    assert len(list(cutter.add_all(Rows.of(rows)))) == REMEMBERED - 2
    with pytest.raises(ContractBroken, match="has rows at 999999 and at 5"):
        cutter.add(Row(WALLET, 5, "0x0", b"{}"))


def test_what_is_remembered_of_transactions_does_not_grow():
    cutter = Cutter(10**6, "memory", 10**9)
    for first in range(0, 10 * REMEMBERED, 1000):
        rows = [Row(WALLET, 10**6 - n, f"0x{n}", b"{}") for n in range(first, first + 1000)]
        list(cutter.add_all(Rows.of(rows)))
    assert len(cutter._times) + len(cutter._times_before) <= 2 * REMEMBERED + 2000


def test_segments_grow_with_the_wallet_and_their_number_with_its_logarithm():
    sizes: list[int] = []
    while sum(sizes) < 10**9:
        sizes.append(growing(sum(sizes), walks=1, most=SEGMENT_BYTES))
        # What is not stored yet is a small part of what is.
        assert sizes[-1] <= max(SMALL_BYTES, sum(sizes) // SHARE)
    assert sizes == sorted(sizes)
    assert sizes[-1] == SEGMENT_BYTES
    assert len(sizes) < SHARE * 8
    assert growing(10**9, walks=4, most=SEGMENT_BYTES) == 10**9 // SHARE // 4
    assert growing(10**9, walks=1, most=1000) == 1000


def test_a_cutter_asks_for_the_size_again_as_the_wallet_grows():
    limits = [1, 1, 10**9]
    cutter = Cutter(200, "memory", lambda: limits[0])
    rows = [row(199 - n, 2 * n) for n in range(50)]
    drafts = []
    for each in rows:
        if draft := cutter.add(each):
            drafts.append(draft)
            del limits[0]
    assert [draft.rows for draft in drafts] == [1, 1]
    last = cutter.finish(100)
    assert len(gzip.decompress(last.payload).splitlines()) == last.rows == 48
