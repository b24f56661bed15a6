"""What the documents name exists: files, modules, functions, commands, settings, packages."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from polycopy_assets.cli import Later, polycopy
from polycopy_assets.ledger.kinds import FindingKind
from polycopy_assets_tests.documents import DOCUMENTS, ROOT

PACKAGE = ROOT / "polycopy_assets"
EXAMPLE = ROOT / "examples" / "dagster_project"
HOMES = (
    *(ROOT, PACKAGE, ROOT / "polycopy_assets_tests", ROOT / "docs"),
    *(EXAMPLE, EXAMPLE / "my_project"),
)
ARCHITECTURE = ROOT / "docs" / "architecture.md"
HISTORY = ROOT / "CHANGELOG.md"
"""It tells of what was, also by its old name."""

documents = pytest.mark.parametrize(
    "document",
    [each for each in DOCUMENTS if each != HISTORY],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)


def quoted(text: str) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def missing_files(text: str) -> list[str]:
    """Files of ours that `text` names, by their place in a package, and that are not there."""
    named = [
        re.match(r"[\w./-]+\.(py|sql|tf|toml|lock|yaml|yml|md)\b", each) for each in quoted(text)
    ]
    paths = {each[0] for each in named if each}
    paths |= set(re.findall(r"polycopy_assets(?:_tests)?/[\w/]+(?:\.\w+)?", text))
    return sorted(path for path in paths if not any((home / path).exists() for home in HOMES))


def missing_modules(text: str) -> list[str]:
    """Dotted names of ours that `text` has, and that are no module and nothing in a module."""
    named = set(re.findall(r"\bpolycopy_assets(?:\.[A-Za-z_]\w*)+", text))
    files = {each for each in named if each.endswith((".py", ".egg"))}
    return sorted(name for name in named - files if not is_module_or_name(name))


def is_module_or_name(dotted: str) -> bool:
    """Whether `dotted` is a module or package of ours, or a name in one."""
    path = ROOT.joinpath(*dotted.split("."))
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module = path.parent.with_suffix(".py")
    module = module if module.is_file() else path.parent / "__init__.py"
    return module.is_file() and path.name in names_in(module)


@cache
def names_in(module: Path) -> frozenset[str]:
    """The names that a module defines or imports, `Class.method` for what is in a class."""
    found: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        for name in defined(node):
            found.add(name)
            if isinstance(node, ast.ClassDef):
                found |= {f"{name}.{each}" for part in node.body for each in defined(part)}
    return frozenset(found)


def defined(node: ast.stmt) -> Iterator[str]:
    """The names that a statement gives a meaning."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.Assign():
            yield from (each.id for each in node.targets if isinstance(each, ast.Name))
        case ast.AnnAssign(target=ast.Name() as target):
            yield target.id
        case ast.Import() | ast.ImportFrom():
            yield from (each.asname or each.name for each in node.names)
        case _:
            pass


def functions(text: str) -> list[tuple[str, str]]:
    """File and function, where `text` says `file.py: function`."""
    return [
        (found[1], found[2])
        for each in quoted(text)
        if (found := re.fullmatch(r"([\w/]+\.py): ([\w.]+)", each))
    ]


def missing_functions(text: str) -> list[str]:
    """The functions and methods that `text` names with their file, and that are not there."""
    return [
        f"{file}: {name}"
        for file, name in functions(text)
        if not (PACKAGE / file).is_file() or name not in names_in(PACKAGE / file)
    ]


def commands(text: str) -> Iterator[str]:
    """What `text` tells people to type: after `polycopy` or `make`."""
    for line in (*quoted(text), *code(text)):
        yield from re.findall(r"(?:^|/|\s)((?:polycopy|make) [a-z][^#;|]*)", line)


def code(text: str) -> list[str]:
    """The lines of the code blocks of shells."""
    return [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]


def missing_commands(text: str) -> list[str]:
    """The commands that `text` names, and that neither `polycopy` nor the Makefile has."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    return [
        each
        for each in commands(text)
        if (each.split()[1] not in targets if each.startswith("make") else not is_command(each))
    ]


def is_command(line: str) -> bool:
    """Whether `polycopy …` is a command, with the options that stand there."""
    current: click.Command = polycopy
    words = line.split()[1:]
    while isinstance(current, click.Group) and words and words[0] in current.commands:
        current = current.commands[words.pop(0)]
        current = current.load() if isinstance(current, Later) else current
    options = {name for each in current.params for name in each.opts} | {"--help", "--version"}
    named = {each.strip("[],.)") for each in words if each.lstrip("[").startswith("-")} - {"-"}
    return current is not polycopy and named <= options


def missing_settings(text: str) -> list[str]:
    """The settings that `text` names, and that stand nowhere in the code."""
    named = set(re.findall(r"\bPOLYCOPY_[A-Z_]*[A-Z]\b", text)) - {"POLYCOPY_TEST_PROJECT"}
    return sorted(name for name in named if not any(f'"{name}"' in each for each in sources()))


@cache
def sources() -> tuple[str, ...]:
    """The text of every module, the tests' too: some settings are theirs."""
    return tuple(
        file.read_text()
        for folder in (PACKAGE, ROOT / "polycopy_assets_tests")
        for file in folder.rglob("*.py")
        if file != Path(__file__)
    )


@documents
def test_every_file_and_module_that_a_document_names_exists(document: Path):
    text = document.read_text()
    assert missing_files(text) == []
    assert missing_modules(text) == []
    assert missing_functions(text) == []


@documents
def test_every_command_and_setting_that_a_document_names_exists(document: Path):
    text = document.read_text()
    assert missing_commands(text) == []
    assert missing_settings(text) == []


def test_the_architecture_names_every_package_and_follows_a_trade_through_functions():
    text = ARCHITECTURE.read_text()
    tree = re.search(r"```\npolycopy_assets/\n(.*?)```", text, re.DOTALL)
    assert tree is not None
    listed = set(re.findall(r"^  ([\w/]+)/ ", tree[1], re.MULTILINE))
    packages = {each.parent.name for each in PACKAGE.glob("*/__init__.py")}
    assert listed == packages
    walked = {file.partition("/")[0] for file, _ in functions(text)}
    assert {"trades", "sources", "store", "fetch", "pipeline", "batches", "warehouse"} <= walked


def test_the_checks_see_what_is_not_there():
    assert missing_files("`fetch/nowhere.py` `trades/walk.py` polycopy_assets/gone") == [
        "fetch/nowhere.py",
        "polycopy_assets/gone",
    ]
    assert missing_modules("polycopy_assets.trades.walk.walk polycopy_assets.trades.walk.run") == [
        "polycopy_assets.trades.walk.run"
    ]
    assert missing_functions("`trades/walk.py: walk` `store/local.py: LocalStore.fly`") == [
        "store/local.py: LocalStore.fly"
    ]
    assert missing_commands("`polycopy fly` `polycopy backfill --now` `make hay` `make demo`") == [
        "polycopy fly",
        "polycopy backfill --now",
        "make hay",
    ]
    assert missing_commands("```sh\n.venv/bin/polycopy status --json  # all\n```") == []
    assert missing_settings("POLYCOPY_STORE POLYCOPY_SHOP") == ["POLYCOPY_SHOP"]


def test_the_formats_name_every_tag_note_and_label_of_the_code():
    page = (ROOT / "docs" / "formats.md").read_text()
    named = {
        found
        for file in PACKAGE.rglob("*.py")
        for found in re.findall(r'"(polycopy[/_][a-z_]+)"', file.read_text())
    }
    ours = {each for each in named if not each.startswith("polycopy_assets")}
    assert {"polycopy/lock", "polycopy/store_id", "polycopy_batches"} <= ours, "they were found"
    assert sorted(each for each in ours if each not in page) == []


def test_the_table_of_findings_has_every_finding_in_the_order_of_gravity():
    page = (ROOT / "docs" / "reconciliation.md").read_text()
    _, _, section = page.partition("## The findings\n")
    table, _, _ = section.partition("\n## ")
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [
        each.value for each in FindingKind
    ]
