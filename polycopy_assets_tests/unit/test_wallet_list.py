"""Lists of wallets as people have them."""

import random

import pytest

from polycopy_assets.cli.wallet_list import WalletList, addresses_in, list_refusals, read_list
from polycopy_assets.errors import ConfigurationError

A, B, C = (f"0x{digit * 40}" for digit in "aBc")
URL = "https://polymarket.com/profile"


def read(text: str, encoding: str = "utf-8") -> WalletList:
    return read_list(text.encode(encoding), "list.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_list_in_any_encoding_with_any_line_ends_is_read(encoding: str, end: str):
    found = read(f"# wanted{end}{A}{end}{end}{B.upper()} # a friend{end}{C}", encoding)
    assert found == WalletList([A, B.upper(), C], [], "")


@pytest.mark.parametrize(
    "line",
    [
        f"{A},",
        f'"{A}"',
        f"'{A}';",
        f"  {A}\t",
        f"{URL}/{A}",
        f"{URL}/{A}?tab=positions",
        f"polymarket.com/@{A}-1718912345678",
        f"[a whale]({URL}/{A})",
        f"7,{A},whale,1.5,,",
        f"{A},{URL}/{A.upper()}",
        f"{A},0x{'1' * 64}",
        f"\u200b{A}\ufeff",
        f"#1,{A},whale",
        f"#12\t{A}",
        f"  #3 {A} # a friend, was {B}",
        f"the #1 of all: {A}",
        f'"#1","{A}"',
        f"{A} # was {B}",
        f"{A} #2, was {B}",
    ],
)
def test_a_line_with_exactly_one_address_counts(line: str):
    assert read(line).addresses == [A]
    assert not read(line).refused


@pytest.mark.parametrize("line", [",,,,", '""', ";", "  ", "# all of them", "\t#x"])
def test_a_line_in_which_nothing_stands_is_none(line: str):
    assert read(f"{line}\n{A}") == WalletList([A], [], "")


@pytest.mark.parametrize(
    "line",
    [f"# {A} is mine", f"#{A}", f"#whale,{A}", f"# 1,{A}", f"# {A}, {B}", f"#1 # {A}", f"a # {A}"],
)
def test_an_address_in_a_comment_alone_is_not_added_and_not_passed_over(line: str):
    found = read(f"{C}\n#1 of my lists\n{line}\n{line}\n")
    assert (found.addresses, found.refused) == ([C], [])
    assert [each.line for each in found.commented] == [3, 4]
    (said,) = list_refusals(found, "list.txt")
    assert said.startswith("not added: 2 lines of list.txt have an address only in a comment")
    assert f"the first is line 3, '{line[:20]}" in said


@pytest.mark.parametrize(
    "line", ["0x12", A[:-1], f"{A}0", A[2:], f"x{A}", "0x" + "a" * 20 + "…", "0x" + "1" * 64]
)
def test_a_line_without_an_address_is_refused_by_name(line: str):
    found = read(f"{A}\n{line}\n")
    assert found.addresses == [A]
    assert [(r.line, r.text, r.addresses) for r in found.refused] == [(2, line, 0)]
    (said,) = list_refusals(found, "list.txt")
    assert said.startswith(f"refused: '{line}', line 2 of list.txt, holds no address")


def test_the_heading_of_a_csv_is_refused_and_the_rows_count():
    found = read(f"rank,wallet,name,pnl,volume,url\n1,{A},x,1,2,u\n2,{B},y,1,2,u\n3,{C},z,1,2,u\n")
    assert found.addresses == [A, B, C]
    assert [r.line for r in found.refused] == [1]
    assert found.looks_like == (
        "this looks like a CSV with 6 columns; the addresses seem to be in the 2nd"
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_rows_with_several_addresses_are_refused_and_the_columns_named(delimiter: str):
    rows = [["1", A, "x", B], ["2", C, '"y, z"', A], ["3", B, "", C]]
    found = read("\n".join(delimiter.join(row) for row in rows))
    assert not found.addresses
    assert [r.addresses for r in found.refused] == [2, 2, 2]
    assert found.looks_like == (
        "this looks like a CSV with 4 columns; the addresses seem to be in the 2nd and the 4th"
    )
    assert list(list_refusals(found, "w.csv"))[-1] == f"w.csv: {found.looks_like}"


def test_other_files_say_what_they_look_like():
    assert "looks like JSON" in read(f'["{A}", "{B}"]').looks_like
    assert "no column holds addresses" in read("a,b\n1,2\n3,4").looks_like
    assert read(f"a,b\n1,{A}\n3,4\n5,6").looks_like.endswith("lines have an address, in the 2nd")
    assert read(f"{A} and {B}\n{C}").looks_like == ""


def test_of_many_refused_lines_few_are_named():
    said = list(list_refusals(read("\n".join(f"x{n}" for n in range(5000))), "list.txt"))
    assert len(said) == 11
    assert said[-1] == "refused: and 4,990 more"


def test_single_bytes_that_are_no_text_spoil_their_own_line_alone():
    found = read_list(f"{A} # Zo\xeb\n".encode("latin-1") + b"\xff\xfe\xfd\n" + B.encode(), "l")
    assert found.addresses == [A, B]
    assert [r.line for r in found.refused] == [2]
    assert len(list(list_refusals(found, "l"))) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04" + bytes(100),
        b"\x1f\x8b\x08" + bytes(9),
        b"%PDF-1.7",
        b"PAR1xxxx",
        b"SQLite format 3\x00",
        random.Random(1).randbytes(5000),
        bytes(5000),
    ],
)
def test_what_is_no_text_is_refused_in_one_line(data: bytes):
    with pytest.raises(ConfigurationError, match=r"^list\.bin is ") as error:
        read_list(data, "list.bin")
    assert "\n" not in str(error.value)


def test_addresses_are_found_once_whatever_their_case():
    assert addresses_in(f"{A} {A.upper()} {B}") == [A, B]
