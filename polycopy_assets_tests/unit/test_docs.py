"""The documents hold together: links resolve, tables render, quoted texts are the code's."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from polycopy_assets_tests.documents import DOCUMENTS, ROOT, prose

INDEX = ROOT / "docs" / "troubleshooting.md"
HEADING = "## From an error text to the section that helps"
HOLE = "\0"
"""Stands for what varies in a text of the code."""

documents = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


@cache
def anchors(document: Path) -> frozenset[str]:
    """The anchors that GitHub gives to a document's headings."""
    seen: Counter[str] = Counter()
    found = set()
    for line in prose(document):
        if heading := re.match(r"#{1,6} +(.*?) *#*$", line):
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1])
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return frozenset(found)


def links(document: Path) -> Iterator[str]:
    """The targets of a document's links and pictures, but for those to other sites."""
    text = re.sub(r"`[^`\n]*`", "", "\n".join(prose(document)))
    for target in re.findall(r"\]\(\s*([^)\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


def broken_links(document: Path) -> list[str]:
    """The links of a document that lead nowhere."""
    broken = []
    for target in links(document):
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(target)
    return broken


def tables(document: Path) -> Iterator[range]:
    """The line numbers, from 1, of each table that a Markdown parser finds."""
    for token in MarkdownIt("commonmark").enable("table").parse(document.read_text()):
        if token.type == "table_open" and token.map is not None:
            yield range(token.map[0] + 1, token.map[1] + 1)


def broken_tables(document: Path) -> list[str]:
    """Rows that are in no table, or have more or fewer cells than their table's heading.

    A parser drops cells that are too many, and fills up those that are missing.
    """
    heading = {number: table[0] for table in tables(document) for number in table}
    lines, broken = prose(document), []
    for number, line in enumerate(lines, 1):
        if not line.lstrip().startswith("|"):
            continue
        if number not in heading:
            broken.append(f"{number}: in no table: {line}")
        elif cells(line) != (width := cells(lines[heading[number] - 1])):
            broken.append(f"{number}: {cells(line)} cells, not {width}: {line}")
    return broken


def cells(row: str) -> int:
    """How many cells a row of a table has."""
    return len(re.findall(r"(?<!\\)\|", row.strip())) - 1


@cache
def texts_of_the_code() -> tuple[str, ...]:
    """Every text in the code but docstrings; what is put into a text is a HOLE."""
    found = []
    for file in (ROOT / "polycopy_assets").rglob("*.py"):
        tree = ast.parse(file.read_text())
        said = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = map(_part, node.values)
                found.append(re.sub(f"{HOLE}+", HOLE, "".join(parts)))
            elif (
                isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in said
            ):
                found.append(node.value)
    return tuple(found)


def _part(part: ast.expr) -> str:
    """A part of an f-string; what `text.counted` puts in is a number and a plural."""
    if isinstance(part, ast.Constant):
        return str(part.value)
    match part:
        case ast.FormattedValue(
            value=ast.Call(func=ast.Name(id="counted"), args=[_, ast.Constant(value=one), *more])
        ):
            plural = more[0].value if more and isinstance(more[0], ast.Constant) else f"{one}s"
            return f"{HOLE} {plural}"
        case _:
            return HOLE


def quoted_texts() -> list[str]:
    """The texts in the index of the troubleshooting page."""
    _, _, index = INDEX.read_text().partition(HEADING)
    return re.findall(r"^\| `([^`]+)` \|", index, re.MULTILINE)


def is_printed(text: str) -> bool:
    """Whether the code has `text`, with something put in where `text` has `…`."""
    wanted = text.replace("…", HOLE)
    return any(wanted in each for each in texts_of_the_code())


@documents
def test_every_link_and_anchor_resolves(document: Path):
    assert broken_links(document) == []


@documents
def test_every_table_renders(document: Path):
    assert broken_tables(document) == []


def test_every_error_text_of_the_index_is_one_that_the_code_prints():
    texts = quoted_texts()
    assert len(texts) >= 60, "the index was found"
    assert [text for text in texts if not is_printed(text)] == []


def test_every_decision_is_in_the_index_of_decisions():
    folder = ROOT / "docs" / "decisions"
    listed = set(links(folder / "README.md"))
    assert {file.name for file in folder.glob("0*.md")} <= listed


def test_the_checks_see_a_broken_link_a_cut_table_and_a_text_that_nobody_prints(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A page: `one`\n[a](#a-page-one) [b](#b) [c](missing.md)\n"
        "\n| a | b |\n|---|---|\n| 1 | 2 |\n"
        "\n| 3 | 4 |\n\n| a | b |\n|---|---|\n| 1 \\| 2 |\n\n```\n| no table |\n[no](link)\n```\n"
    )
    assert broken_links(page) == ["#b", "missing.md"]
    assert [each.partition(":")[0] for each in broken_tables(page)] == ["8", "12"]
    assert not is_printed("a text that … nobody prints")
    assert not is_printed("`text` with `…`"), "a docstring is not printed"
