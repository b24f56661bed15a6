"""Lists of wallets as users have them: text files in any encoding, CSV, profile addresses.

A line with exactly one address counts, whatever else is in it. A line with no address, or with
several, is refused, and `WalletList.looks_like` guesses the file's format. A comment is not read,
but if it holds the only address of its line, the line is reported: the wallet may be left out on
purpose, or `#` may mean something else in this file.
"""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.text import counted, first_lines, quoted
from polycopy_assets.trades.wallet import sort_out

MOST_BYTES = 100_000_000
_ADDRESS = re.compile(r"(?<![0-9A-Za-z])0[xX][0-9a-fA-F]{40}(?![0-9A-Za-z])")
_BLANK = re.compile(r"[\s,;|\"'\0\ufeff]*")
_COMMENT = re.compile(r"(?:^|\s)#(?P<rank>\d+(?!\w))?")
"""`#1` is a rank on a leaderboard if an address follows it."""

_DELIMITERS = ",;\t|"
_LOOKED_AT = 1_000
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BINARY = (
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet (.xlsx, .ods)"),
    (b"\x1f\x8b", "a gzip file"),
    (b"%PDF", "a PDF"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet (.xls)"),
)


class RefusedLine(msgspec.Struct, frozen=True):
    """A line with no address, or with several: its number from 1, its text, how many."""

    line: int
    text: str
    addresses: int


class WalletList(msgspec.Struct, frozen=True):
    """The addresses of a list as written, what was refused, and what the file looks like.

    `commented` are the lines whose addresses are only in a comment: they were not taken.
    """

    addresses: list[str]
    refused: list[RefusedLine]
    looks_like: str
    commented: list[RefusedLine] = []


NO_LIST = WalletList([], [], "")


def addresses_in(text: str) -> list[str]:
    """The addresses in `text`, each once regardless of case, as first written."""
    found: dict[str, str] = {}
    for address in _ADDRESS.findall(text):
        found.setdefault(address.lower(), address)
    return list(found.values())


def given_wallets(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """(wallets, refused texts) of a command line: a text may hold an address, as a profile does."""
    return sort_out(found[0] if len(found := addresses_in(text)) == 1 else text for text in texts)


def read_list(data: bytes, name: str) -> WalletList:
    """The wallets in a file's content; raises ConfigurationError if it cannot be a text."""
    addresses: list[str] = []
    refused: list[RefusedLine] = []
    commented: list[RefusedLine] = []
    filled: list[str] = []
    for number, whole in enumerate(_decoded(data, name).splitlines(), start=1):
        line, comment = _without_comment(whole)
        found = addresses_in(line)
        if not found and (left_out := addresses_in(comment)):
            commented.append(RefusedLine(number, whole.strip(), len(left_out)))
            continue
        if _BLANK.fullmatch(line):
            continue
        filled.append(line)
        if len(found) == 1:
            addresses.extend(found)
        else:
            refused.append(RefusedLine(number, line, len(found)))
    looks_like = _looks_like(filled[:_LOOKED_AT]) if refused else ""
    return WalletList(addresses, refused, looks_like, commented)


def _without_comment(line: str) -> tuple[str, str]:
    """The text before a comment, and the comment."""
    for mark in _COMMENT.finditer(line):
        before, rest = line[: mark.start()], line[mark.start() :]
        if not (mark["rank"] and addresses_in(rest) and not addresses_in(before)):
            return before.strip(), rest
    return line.strip(), ""


def list_refusals(found: WalletList, name: str, most: int = 10) -> Iterable[str]:
    """Lines for people: what was refused in the file `name`; the first `most` are quoted."""
    lines = [_refusal(item, name) for item in found.refused]
    yield from first_lines(lines, most, "refused: ")
    if found.commented:
        first = found.commented[0]
        has = "has" if len(found.commented) == 1 else "have"
        yield (
            f"not added: {counted(len(found.commented), 'line')} of {name} {has} an address only in"
            f" a comment, the first is line {first.line}, {quoted(first.text)}: to add one, remove"
            " its `#`"
        )
    if found.looks_like:
        yield f"{name}: {found.looks_like}"


def _refusal(item: RefusedLine, name: str) -> str:
    count = counted(item.addresses, "address", "addresses") if item.addresses else "no address"
    return (
        f"{quoted(item.text)}, line {item.line} of {name}, holds {count}"
        " (expected one: 0x and 40 hex digits)"
    )


def _decoded(data: bytes, name: str) -> str:
    """The text; single bytes that are not text become `�`: they may be in a comment."""
    if len(data) > MOST_BYTES:
        raise ConfigurationError(f"{name} is larger than {MOST_BYTES:,} bytes: not a wallet list")
    for magic, kind in _BINARY:
        if data.startswith(magic):
            raise ConfigurationError(f"{name} is {kind}: expected text, one address per line")
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    even, odd = data[0:1000:2].count(0), data[1:1000:2].count(0)
    if even or odd:
        # UTF-16 without its mark, from Windows: every other byte of an address is zero.
        halves = len(data[:1000]) // 2
        if max(even, odd) < halves * 0.8 or min(even, odd) > halves * 0.2:
            raise ConfigurationError(f"{name} is not a text file: expected one address per line")
        return data.decode("utf-16-le" if odd > even else "utf-16-be", errors="replace")
    return data.decode(errors="replace")


def _looks_like(lines: Sequence[str]) -> str:
    """What a file with these lines seems to be; empty for one address per line."""
    if lines[0].startswith(("[", "{")):
        return "this looks like JSON; write one address per line"
    delimiter = max(_DELIMITERS, key=lambda each: sum(line.count(each) for line in lines))
    try:
        rows = [_filled(row) for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error:
        return ""  # not a CSV; the refused lines are named anyway
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if width <= 1:
        return ""
    holding = Counter(
        column for row in rows for column, cell in enumerate(row, start=1) if addresses_in(cell)
    )
    mostly = [column for column, times in sorted(holding.items()) if times * 2 > len(rows)]
    columns = " and the ".join(map(_nth, mostly or sorted(holding)))
    if mostly:
        where = f"the addresses seem to be in the {columns}"
    elif holding:
        where = f"few of its lines have an address, in the {columns}"
    else:
        where = "no column holds addresses"
    return f"this looks like a CSV with {counted(width, 'column')}; {where}"


def _filled(row: list[str]) -> list[str]:
    """A row without the empty cells at its end: a trailing comma makes no column."""
    while row and not row[-1].strip():
        row = row[:-1]
    return row


def _nth(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 < number % 100 < 14 else suffix}"  # noqa: PLR2004 - 11th to 13th
