"""Imports point down: `make imports` checks the layers, which are broken here by every arrow."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest

import polycopy_assets

PACKAGE = Path(polycopy_assets.__file__).parent
ROOT = PACKAGE.parent
OURS = PACKAGE.name

LAYERS = (
    ("__main__",),
    ("cli",),
    ("definitions", "event_log", "postgres_storage", "run_storage"),
    ("components",),
    ("assembly",),
    ("automation",),
    ("assets",),
    ("checks",),
    ("reconcile", "resources", "retention"),
    ("guard",),
    ("record", "migration"),
    ("pipeline",),
    ("fetch", "batches"),
    ("sources", "store", "warehouse", "demo"),
    ("boards", "dimensions", "feeds", "ledger", "system"),
    ("trades", "settings"),
    ("errors",),
    ("text",),
)
"""The layers, highest first. Those that stand together do not know each other."""

UPWARD = [(low, high) for higher, lower in pairwise(LAYERS) for high, low in product(higher, lower)]
SIDEWAYS = [pair for layer in LAYERS for pair in combinations(layer, 2)]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with the contracts, once for all tests of a process."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copy(ROOT / "pyproject.toml", folder)
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=ignored)


@pytest.fixture
def copy(copied: Path) -> Iterator[Path]:
    """The same to be broken: afterwards it is whole again."""
    before = {path: path.read_bytes() for path in copied.rglob("*.py")}
    yield copied
    for path in set(copied.rglob("*.py")) - set(before):
        path.unlink()
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def broken_in(package: Path) -> list[str]:
    """The names of the contracts that are broken in a copy, as `lint-imports` says there."""
    return broken_and_why(package)[0]


def broken_and_why(package: Path) -> tuple[list[str], str]:
    """The same, and what it says of the arrows that break them."""
    ended = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=package.parent,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = re.findall(r"^(.+) (KEPT|BROKEN)(?: \(.*\))?$", ended.stdout, re.MULTILINE)
    assert verdicts, ended.stdout + ended.stderr
    broken = [name for name, verdict in verdicts if verdict == "BROKEN"]
    assert ended.returncode == (1 if broken else 0)
    return broken, ended.stdout


def put(package: Path, module: str, line: str) -> None:
    """Makes a file of the layer `module` import what it should not, as late as it can."""
    below = package / module
    path = max(below.glob("*.py")) if below.is_dir() else below.with_suffix(".py")
    text = path.read_text()
    path.write_text(f"{text}\n\ndef late() -> None:\n    {line}\n")


def test_the_package_as_it_is_breaks_no_contract(copy: Path):
    assert broken_in(copy) == []


def test_every_package_and_top_module_has_its_layer():
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    found |= {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert found == {name for layer in LAYERS for name in layer}


def test_there_are_at_most_nine_modules_at_the_top():
    assert len(list(PACKAGE.glob("*.py"))) <= 9


def test_every_arrow_that_points_up_or_to_those_who_stand_together_is_refused(copy: Path):
    for low, high in UPWARD:
        put(copy, low, f"import polycopy_assets.{high}")
    for one, other in SIDEWAYS:
        put(copy, one, f"from polycopy_assets import {other}")
    broken, why = broken_and_why(copy)
    assert "imports point down" in broken
    arrows = [*UPWARD, *SIDEWAYS]
    let_through = [
        f"{one} -> {other}"
        for one, other in arrows
        if f"{OURS}.{one} is not allowed to import {OURS}.{other}:" not in why
        or not re.search(rf"^- {OURS}\.{one}(\.\w+)* -> {OURS}\.{other} \(l", why, re.MULTILINE)
    ]
    assert let_through == []
    assert len(arrows) > 90


@pytest.mark.parametrize("path", ["loose.py", "new/__init__.py"])
def test_a_module_that_has_no_layer_is_refused(copy: Path, path: str):
    (copy / path).parent.mkdir(exist_ok=True)
    (copy / path).write_text("")
    assert "imports point down" in broken_in(copy)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("__init__", "import httpx"),
        ("__main__", "import httpx"),
        ("assembly", "from httpx import URL"),
        ("errors", "import httpx"),
        ("cli", "import httpx"),
        ("settings", "import httpx"),
        ("fetch", "import stamina"),
        ("__init__", "import dagster"),
        ("definitions", "import dagster"),
        ("event_log", "from dagster import asset"),
        ("text", "import dagster"),
        ("pipeline", "import dagster as dg"),
        ("migration", "from dagster._core import events"),
        ("store", "import duckdb"),
        ("assets", "from google.cloud import storage"),
        ("reconcile", "import dagster_gcp"),
        ("cli", "from polycopy_assets.resources import google"),
        ("trades", "import polycopy_assets.settings"),
        ("ledger", "import polycopy_assets.settings"),
        ("ledger", "import requests"),
        ("sources", "from polycopy_assets import __version__"),
        ("trades", "from polycopy_assets.trades import walk; import polycopy_assets.ledger"),
    ],
)
def test_what_belongs_elsewhere_is_refused(copy: Path, module: str, line: str):
    put(copy, module, line)
    assert broken_in(copy)


def test_a_circle_inside_of_a_package_is_refused(copy: Path):
    put(copy, "trades/interval", "import polycopy_assets.trades.segment")
    assert broken_in(copy) == ["no circles, in any package"]
