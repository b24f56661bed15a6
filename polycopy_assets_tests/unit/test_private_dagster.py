"""Dagster's private modules are used in one folder, each for a reason and with its test."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import polycopy_assets

PACKAGE = Path(polycopy_assets.__file__).parent
ROOT = PACKAGE.parent
PRIVATE = PACKAGE / "record" / "private"
MODULES = sorted(PACKAGE.rglob("*.py"))


def private_uses(source: str) -> Iterator[str]:
    """What a module has of Dagster that is private: imports, attributes, names in texts."""
    nodes = list(ast.walk(ast.parse(source)))
    dagsters: set[str] = set()
    for node in nodes:
        for whole, bound in imports_of(node):
            if whole.startswith("dagster"):
                dagsters.add(bound)
                yield from _underscored(whole)
    for node in nodes:
        if reached(node, dagsters):
            yield ast.unparse(node)


def imports_of(node: ast.AST) -> Iterator[tuple[str, str]]:
    """(dotted name, name it is bound to) of whatever a statement imports."""
    if isinstance(node, ast.Import):
        for each in node.names:
            yield each.name, each.asname or each.name.partition(".")[0]
    elif isinstance(node, ast.ImportFrom):
        for each in node.names:
            yield f"{node.module}.{each.name}", each.asname or each.name


def reached(node: ast.AST, dagsters: set[str]) -> bool:
    """Whether an expression goes by way of one of the names `dagsters`, or a text, to a `_`."""
    match node:
        case ast.Attribute(attr=name):
            private = name.startswith("_") and not name.startswith("__")
            return private and _first(node) in dagsters
        case ast.Constant(value=str(text)):
            return bool(re.search(r"\bdagster\w*\._", text))
        case ast.Call(func=ast.Name("getattr"), args=[on, ast.Constant(value=str(name)), *_]):
            return _first(on) in dagsters and name.startswith("_")
        case ast.Call(func=ast.Name("getattr" | "vars"), args=[on, *_]):
            return _first(on) in dagsters
        case _:
            return False


def _underscored(name: str) -> Iterator[str]:
    if any(part.startswith("_") for part in name.split(".")):
        yield name


def _first(node: ast.expr) -> str:
    """The name that a chain of attributes begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize(
    "source",
    [
        "import dagster._core.events",
        "import dagster._core as core",
        "from dagster import _core",
        "from dagster._core.events import DagsterEvent",
        "def late():\n    from dagster._utils import interrupts",
        "import dagster as dg\ndg._core",
        "import dagster as dg\ndg._core.events.DagsterEvent",
        "from dagster import instance\ninstance._x",
        "import importlib\nimportlib.import_module('dagster._core.events')",
        "import dagster as dg\ngetattr(dg, '_core')",
        "import dagster as dg\nname = '_core'\ngetattr(dg, name)",
        "import dagster as dg\nvars(dg)",
        "from dagster_gcp._x import y",
    ],
)
def test_a_private_use_of_dagster_is_seen(source: str):
    assert list(private_uses(source))


@pytest.mark.parametrize(
    "source",
    [
        "import dagster as dg\ndg.asset",
        "from dagster import asset",
        "import a\na._b",
        "x = '_core'",
    ],
)
def test_what_is_public_is_not_taken_for_private(source: str):
    assert not list(private_uses(source))


def test_dagsters_private_modules_are_used_in_one_folder_alone():
    using = {path for path in MODULES if list(private_uses(path.read_text()))}
    assert {path.parent for path in using} == {PRIVATE}
    beside = "from polycopy_assets.record.private."
    for path in set(PRIVATE.glob("*.py")) - {PRIVATE / "__init__.py"} - using:
        assert beside in path.read_text(), f"{path} has nothing private and belongs elsewhere"


@pytest.mark.parametrize("path", sorted(set(PRIVATE.glob("*.py")) - {PRIVATE / "__init__.py"}))
def test_each_private_use_says_its_reason_and_the_test_that_pins_it(path: Path):
    said = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert re.search(r"^Private: \S", said, re.MULTILINE)
    pinned = re.search(r"Pinned by\s+`([\w/]+\.py)`", said)
    assert pinned
    assert (ROOT / "polycopy_assets_tests" / pinned[1]).is_file()
