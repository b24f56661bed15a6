"""What is a wallet, and what a segment's name and a data version tell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycopy_assets.errors import InvalidWallet
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import Segment, data_version, is_whole, rows_in_version
from polycopy_assets.trades.wallet import parse_wallet, sort_out
from polycopy_assets_tests.of_trades import parse_name, segment_name

WALLET = "0x" + "ab" * 20


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        "0x12",
        "ab" * 20,
        "0x" + "g" * 40,
        "0x" + "a" * 41,
        WALLET + "/..",
        WALLET + "\n0",
        "0x" + "\u0660" * 40,
    ],
)
def test_what_is_no_wallet_is_refused_by_name(text: str):
    with pytest.raises(InvalidWallet) as error:
        parse_wallet(text)
    assert repr(text.strip()) in str(error.value)


def test_case_and_white_space_do_not_matter_and_each_wallet_comes_once():
    assert sort_out([f" {WALLET.upper()} ", WALLET, None, "x"]) == ([WALLET], ["", "x"])


@given(st.integers(0, 10**10 - 2), st.integers(1, 10**6))
def test_a_name_tells_the_wallet_and_the_interval(start: int, length: int):
    span = Interval(start, min(start + length, 10**10 - 1))
    assert parse_name(segment_name(WALLET, span)) == (WALLET, span)


@pytest.mark.parametrize(
    "name",
    [
        f"trades/{WALLET}.jsonl",
        f"trades/{WALLET}/0000000005-0000000005.jsonl.gz",
        f"trades/{WALLET}/5-9.jsonl.gz",
        f"trades/{WALLET.upper()}/0000000001-0000000005.jsonl.gz",
        f"trades/{WALLET}/0000000001-0000000005.jsonl.gz.tmp",
    ],
)
def test_other_names_are_no_segments(name: str):
    assert parse_name(name) is None


def segment(start: int, until: int, rows: int = 1, crc: str = "00000000") -> Segment:
    return Segment(
        folder="trades/", wallet=WALLET, start=start, until=until, rows=rows, size=9, crc32c=crc
    )


def test_coverage_ends_where_it_ends_only_without_a_gap():
    assert is_whole([], 9)  # a wallet without trades
    assert not is_whole([], 0)
    assert is_whole([segment(0, 5), segment(5, 9)], 9)
    assert is_whole([segment(0, 5), segment(5, 9)], 12)  # no trades behind the last segment
    assert not is_whole([segment(0, 5), segment(5, 9)], 8)
    assert not is_whole([segment(0, 5), segment(6, 9)], 9)
    assert not is_whole([segment(1, 5)], 5)


def test_a_data_version_changes_with_the_trades_and_with_nothing_else():
    version = data_version([segment(0, 5, 3), segment(5, 9, 4)])
    assert rows_in_version(version) == 7
    assert data_version([segment(5, 9, 4), segment(0, 5, 3), segment(9, 12, 0)]) == version
    assert data_version([segment(0, 5, 3), segment(5, 9, 4, "00000001")]) != version
    assert data_version([segment(0, 5, 3), segment(5, 10, 4)]) != version
    assert rows_in_version(data_version([segment(0, 5, 0)])) == 0


@pytest.mark.parametrize("version", ["", "7", "rows-7", "rows-x-0123456789abcdef", "v1"])
def test_a_foreign_data_version_has_no_row_count(version: str):
    assert rows_in_version(version) is None
