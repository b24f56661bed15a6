"""Texts of others: one line, harmless, short."""

import ast
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycopy_assets import errors
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.cli.common import one_line_errors
from polycopy_assets.errors import ContractBroken, PolycopyError
from polycopy_assets.ledger.failure import Failure, by_reason
from polycopy_assets.settings.parse import wrong
from polycopy_assets.text import (
    MESSAGE,
    counted,
    first_few,
    first_lines,
    listed,
    one_line,
    quoted,
    said_by,
    size,
)
from polycopy_assets.trades.wallet import parse_wallet, refusals

ROOT = Path(__file__).parents[2]
NASTY = "\x1b[31mred\x1b[0m\r\nforged\u2028line \u202eback \u2066\x9b\udc80\x00\ttab"


@given(st.text(), st.integers(1, 50))
def test_whatever_the_text_it_prints_in_one_line_of_no_more_than_the_limit(text: str, limit: int):
    shown = one_line(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit + 1
    assert shown.endswith("…") or text.isascii() is False or len(shown) >= len(text)
    shown.encode()


def test_a_harmless_text_stays_as_it_is_and_a_nasty_one_is_escaped():
    assert one_line("Wird Zürich, 日本 gewinnen? 🙂") == "Wird Zürich, 日本 gewinnen? 🙂"
    assert one_line(NASTY) == (
        "\\x1b[31mred\\x1b[0m\\r\\nforged\\u2028line \\u202eback \\u2066\\x9b\\udc80\\x00\\ttab"
    )
    assert one_line("x" * 100, 10) == "x" * 10 + "…"
    assert one_line("\n" * 100, 5) == "\\n\\n…"


def test_what_a_library_says_over_several_lines_is_one():
    assert said_by(ValueError("no\n  such\tthing\x1b")) == "no such thing\\x1b"


@pytest.mark.parametrize(
    "kind",
    [
        each
        for each in vars(errors).values()
        if isinstance(each, type)
        and issubclass(each, PolycopyError)
        and not issubclass(each, errors.ObjectError)
        and each not in {errors.Unexpected, errors.BatchBroken, errors.WrongTable}
    ],
)
def test_every_error_of_ours_is_one_harmless_line(kind: type[PolycopyError]):
    message = str(kind(NASTY + "x" * 10 * MESSAGE))
    assert message.isprintable()
    assert len(message) <= MESSAGE + 1
    assert str(kind("as it is: 'ok'")) == "as it is: 'ok'"


@pytest.mark.parametrize(
    "error",
    [
        errors.BatchBroken(7, NASTY + "x" * 10 * MESSAGE),
        errors.ObjectLost(NASTY, NASTY + "x" * 10 * MESSAGE),
        errors.WrongTable("trades", NASTY + "x" * 10 * MESSAGE, NASTY, None),
    ],
    ids=["batch", "object", "table"],
)
def test_an_error_with_values_of_others_is_one_harmless_line(error: PolycopyError):
    assert str(error).isprintable()
    assert len(str(error)) <= MESSAGE + 1


def test_an_error_that_nobody_foresaw_is_one_harmless_line_as_well():
    message = str(errors.Unexpected(ValueError(NASTY + "x" * 10_000)))
    assert message.isprintable()
    assert len(message) < 1000


def test_names_and_values_are_quoted_harmless_and_short():
    with pytest.raises(errors.InvalidWallet) as error:
        parse_wallet(NASTY * 100)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 200
    (line,) = refusals([NASTY * 100])
    assert line.isprintable()
    assert len(line) < 200
    assert str(wrong("NAME", "a\nb", "c")) == "NAME='a\\nb' is not accepted: expected c"
    assert quoted("x" * 200) == "'" + "x" * 80 + "…'"
    assert str(ContractBroken("a 'b'")) == "a 'b'"


def test_a_reason_that_many_share_is_one_line():
    failures = [Failure(f"0x{n}", "down") for n in range(3000)]
    failures += [Failure("0xa", "refused"), Failure("0xb", "slow"), Failure("0xc", "odd")]
    assert list(by_reason(failures, 2)) == [
        "3,000 wallets, the first 0x0: down",
        "0xa: refused",
        "and 2 more",
    ]
    assert list(by_reason([], 2)) == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (["a", "b", "c"], "a, b and 1 more"),
        (map(str, range(3000)), "0, 1 and 2,998 more"),
    ],
)
def test_a_long_list_of_names_is_cut_and_says_how_many_are_left_out(
    names: Iterable[str], said: str
):
    assert first_few(names, 2) == said


def test_a_long_list_of_lines_is_cut_and_says_how_many_are_left_out():
    assert list(first_lines(["a", "b"], 2, "refused: ")) == ["refused: a", "refused: b"]
    assert list(first_lines(["a", "b", "c"], 2, "  ")) == ["  a", "  b", "  and 1 more"]
    assert list(first_lines(["a"], 2, left=1234)) == ["a", "and 1,234 more"]
    assert list(first_lines([], 2)) == []


def test_what_was_noted_on_an_error_is_told_by_the_step_and_by_the_command(
    capsys: pytest.CaptureFixture[str],
):
    error = PolycopyError("the disk is full")
    error.add_note(f"the last wallets could not be recorded: {NASTY}")
    with pytest.raises(dg.Failure) as failed, failing_plainly(dg.build_asset_context()):
        raise error
    with pytest.raises(SystemExit), one_line_errors():
        raise error
    told = str(failed.value.description)
    assert told.startswith("the disk is full; the last wallets could not be recorded: ")
    assert told.isprintable()
    assert capsys.readouterr().err == f"polycopy: {told}\n"


def test_a_number_stands_with_its_singular_or_plural():
    assert [counted(n, "wallet") for n in (0, 1, 2000)] == [
        "0 wallets",
        "1 wallet",
        "2,000 wallets",
    ]
    assert counted(1, "batch is", "batches are") == "1 batch is"
    assert counted(3, "batch is", "batches are") == "3 batches are"


_PLURAL = re.compile(
    r" (?:[a-z]+ )?(?:addresses|attempts|batches|days|files|hours|lines|pages|partitions|records"
    r"|requests|rows|runs|segments|trades|wallets)\b(?!/)"
)


def test_a_number_in_a_text_for_people_is_never_followed_by_a_plural_that_may_be_wrong():
    """`counted` says "1 wallet". A constant in capitals, or a limit that was exceeded, is many."""
    found = []
    for path in sorted((ROOT / "polycopy_assets").rglob("*.py")):
        for text in ast.walk(ast.parse(path.read_text())):
            if not isinstance(text, ast.JoinedStr) or path.name in {"bounds.py", "walk.py"}:
                continue
            for value, after in pairwise(text.values):
                if (
                    isinstance(value, ast.FormattedValue)
                    and isinstance(after, ast.Constant)
                    and _PLURAL.match(str(after.value))
                    and re.search(r"len\(|[:,]$", ast.unparse(value.value) + _format(value))
                ):
                    found.append(f"{path.relative_to(ROOT)}:{value.lineno}: {ast.unparse(text)}")
    assert found == []


def _format(value: ast.FormattedValue) -> str:
    """The format of a value, with its colon; empty if it has none."""
    spec = value.format_spec
    return "" if spec is None else ":" + ast.unparse(spec)[2:-1]


def test_a_number_of_bytes_is_read_at_a_glance():
    said = {0: "0 bytes", 999: "999 bytes", 1_000: "1.0 kB", 999_949: "999.9 kB"}
    said |= {999_951: "1.0 MB", 7_500_000: "7.5 MB", 10**9: "1.0 GB", 10**16: "10000.0 TB"}
    assert {count: size(count) for count in said} == said


def test_names_are_listed_as_a_sentence_has_them():
    assert listed(["trades"]) == "trades"
    assert listed(("trades", "activity")) == "trades and activity"
    assert listed(each for each in ("trades", "activity", "tips")) == "trades, activity and tips"
