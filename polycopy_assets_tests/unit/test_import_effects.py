"""An import changes nothing in the process, and loads none of Google's clients."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import polycopy_assets

PACKAGE = Path(polycopy_assets.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))

WATCH = """
import atexit, importlib, json, logging, os, signal, sys, threading, warnings
others, ours = json.loads(sys.stdin.read())

at_exit, register, unregister = [], atexit.register, atexit.unregister

def registering(function, *args, **options):
    at_exit.append(repr(function))
    return register(function, *args, **options)

def unregistering(function):
    at_exit.append(f"without {function!r}")
    unregister(function)

atexit.register, atexit.unregister = registering, unregistering
for name in others:
    importlib.import_module(name)
import stamina

def seen():
    named = logging.root.manager.loggerDict.items()
    loggers = {n: x.level for n, x in named if isinstance(x, logging.Logger) and x.level}
    handlers = {n: repr(x.handlers) for n, x in named if getattr(x, "handlers", None)}
    return {
        "levels": {**loggers, "": logging.root.level},
        "handlers": {**handlers, "": repr(logging.root.handlers)},
        "warning filters": [str(each) for each in warnings.filters],
        "retry hooks": [repr(each) for each in stamina.instrumentation.get_on_retry_hooks()],
        "signals": {int(n): repr(signal.getsignal(n)) for n in signal.valid_signals()},
        "environment": dict(os.environ),
        "threads": [each.name for each in threading.enumerate()],
        "exception hooks": [
            repr(hook) for hook in (sys.excepthook, threading.excepthook, sys.unraisablehook)
        ],
        "functions at exit": [*at_exit],
        "filters of what has no handler": repr(logging.lastResort and logging.lastResort.filters),
    }

before, changed = seen(), []
for name in ours:
    importlib.import_module(name)
    after = seen()
    changed += [f"{name}: {what}" for what in before if before[what] != after[what]]
    before = after
print(json.dumps([changed, sorted(set(ours) - set(sys.modules)), sorted(sys.modules)]))
"""


def name_of(path: Path) -> str:
    """The dotted name of a module of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(others: list[str], ours: list[str], folder: Path) -> tuple[list[str], list[str]]:
    """(what importing `ours` changed in a fresh process, all modules it has then)."""
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ended = subprocess.run(
        [sys.executable, "-c", WATCH],
        input=json.dumps([others, ours]),
        cwd=folder,
        env={**clean, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    changed, missing, loaded = json.loads(ended.stdout.splitlines()[-1])
    assert not missing
    return changed, loaded


def foreign() -> list[str]:
    """The modules of others that the package imports, as its files name them."""
    found = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(each.name for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return sorted(name for name in found if name.partition(".")[0] != "polycopy_assets")


def test_an_import_changes_nothing_in_the_process(tmp_path: Path):
    changed, _ = imported(foreign(), [name_of(path) for path in MODULES], tmp_path)
    assert changed == []


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("import logging; logging.getLogger('httpx').setLevel(30)", "levels"),
        ("import warnings; warnings.filterwarnings('ignore', 'x')", "warning filters"),
        ("import stamina; stamina.instrumentation.set_on_retry_hooks(())", "retry hooks"),
        ("import os; os.environ['X'] = 'y'", "environment"),
        ("import sys; sys.unraisablehook = print", "exception hooks"),
        ("import atexit; atexit.register(int)", "functions at exit"),
        ("from atexit import unregister; unregister(print)", "functions at exit"),
        (
            "import logging; logging.lastResort.addFilter(print)",
            "filters of what has no handler",
        ),
    ],
)
def test_an_import_that_changes_something_is_seen(tmp_path: Path, line: str, what: str):
    (tmp_path / "loose.py").write_text(line)
    changed, _ = imported([], ["loose"], tmp_path)
    assert changed == [f"loose: {what}"]


def test_googles_clients_are_not_loaded_where_they_are_not_set(tmp_path: Path):
    theirs = re.compile(r"polycopy_assets\.(resources\.google|store\.gcs|warehouse\.bigquery\b.*)")
    ours = [name for name in map(name_of, MODULES) if not theirs.fullmatch(name)]
    _, loaded = imported([], ours, tmp_path)
    assert [name for name in loaded if name.startswith(("google.cloud", "dagster_gcp"))] == []
