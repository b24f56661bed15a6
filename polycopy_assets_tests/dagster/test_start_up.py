"""What a command imports: a short one must not wait for libraries that it does not use."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from polycopy_assets.cli import Later, polycopy
from polycopy_assets_tests.deployment import Deployment

OURS = "polycopy_assets"

LOADED = """
import gc, json, os, sys
before, lines = set(sys.modules), os.fdopen(os.dup(1), "w")
from polycopy_assets.__main__ import main
try:
    main()
finally:
    found = [sorted(set(sys.modules) - before), gc.isenabled(), gc.get_freeze_count()]
    print(json.dumps(found), file=lines, flush=True)
"""

HEAVY = {
    *("dagster_gcp", "google", "grpc.aio", "httpx", "matplotlib", "pandas", "polars", "pyarrow"),
    *("requests", "stamina", "starlette", "uvicorn"),
    *(f"{OURS}.{name}" for name in ("assembly", "assets", "automation", "checks", "demo")),
    *(f"{OURS}.{name}" for name in ("cli.backfill", "cli.runs", "pipeline.fetch", "reconcile")),
}
"""What a command does without if it neither fetches nor combines."""


def run(deployment: Deployment, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs it as a new process, which has imported nothing."""
    deployment.root.mkdir(exist_ok=True)
    return subprocess.run(
        command,
        env=deployment.process_environ(),
        cwd=deployment.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def loaded(deployment: Deployment, *args: str) -> tuple[list[str], bool, int]:
    """(modules, whether garbage is collected, objects that are not looked at) when it ends."""
    done = run(deployment, sys.executable, "-c", LOADED, *args)
    assert "Traceback" not in done.stderr, done.stderr
    modules, collecting, frozen = json.loads(done.stdout.splitlines()[-1])
    return modules, collecting, frozen


def among(names: set[str], modules: list[str]) -> list[str]:
    """Those of `modules` that are in the packages `names`."""
    return [m for m in modules if any(f"{m}.".startswith(f"{name}.") for name in names)]


@pytest.mark.parametrize(
    "args", ["--version", "--help", "", "--verison", "stauts", "stauts --help"]
)
def test_what_needs_no_command_imports_click_and_nothing_else(deployment: Deployment, args: str):
    modules, _, _ = loaded(deployment, *args.split())
    packages = {module.partition(".")[0] for module in modules}
    assert packages - sys.stdlib_module_names == {OURS, "click"}
    assert not {"asyncio", "sqlite3", "ssl"} & packages
    below = {module for module in modules if module.startswith(f"{OURS}.cli.")}
    assert below == {f"{OURS}.cli.help"}, "a command was imported"


@pytest.mark.parametrize("args", ["status", "status --json", "init"])
def test_a_command_that_neither_fetches_nor_writes_rows_imports_nothing_for_it(
    deployment: Deployment, args: str
):
    deployment.want(["0x" + "1" * 40])
    modules, collecting, frozen = loaded(deployment, *args.split())
    assert "dagster" in modules
    assert among(HEAVY, modules) == []
    assert (collecting, frozen) == (True, 0)


def test_wallets_are_added_without_what_fetches_them(deployment: Deployment):
    modules, _, _ = loaded(deployment, "wallets", "add", "0x" + "1" * 40)
    assert among(HEAVY - {"polars"}, modules) == []


@pytest.mark.parametrize("later", polycopy.commands.values(), ids=polycopy.commands)
def test_a_help_line_is_the_commands_own(later: click.Command):
    assert isinstance(later, Later)
    own = later.load()
    assert not isinstance(own, Later)
    assert (later.name, later.hidden, later.deprecated) == (own.name, own.hidden, own.deprecated)
    assert later.help
    assert later.help == (own.help or "").split("\n\n")[0]
    for limit in range(10, 120):
        assert later.get_short_help_str(limit) == own.get_short_help_str(limit)


@pytest.mark.parametrize("args", ["--version", "--help", "status --help", "--verison", "status -x"])
def test_the_module_and_the_console_script_behave_the_same(deployment: Deployment, args: str):
    script = Path(sys.executable).with_name("polycopy")
    one = run(deployment, str(script), *args.split())
    other = run(deployment, sys.executable, "-m", OURS, *args.split())
    assert (one.returncode, one.stdout, one.stderr) == (
        other.returncode,
        other.stdout,
        other.stderr,
    )
    assert one.returncode == (0 if args.rsplit(maxsplit=1)[-1] in {"--version", "--help"} else 2)


def test_a_command_ends_without_a_word_about_leaks(deployment: Deployment):
    deployment.want(["0x" + "1" * 40])
    done = run(deployment, sys.executable, "-m", OURS, "status")
    assert (done.returncode, done.stderr) == (0, "")
