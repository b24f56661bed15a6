"""One command for everything CI runs: whoever runs checks calls the same make targets and tools."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
CHECKED = {
    "check",
    "test",
    "test-exhaustive",
    "test-crash",
    "test-dev",
    "bench-smoke",
    "browser-test",
    "first-hour",
    "container",
}
WORKFLOW_ALONE = {"test-postgres", "container-twice"}
"""What takes too long for every change; the second includes `container`."""


def rules() -> dict[str, tuple[set[str], list[str]]]:
    """Of each target of the Makefile what it needs, and the commands that it runs."""
    found: dict[str, tuple[set[str], list[str]]] = {}
    name = ""
    for line in (ROOT / "Makefile").read_text().splitlines():
        if rule := re.match(r"([a-z-]+):([^=#]*)(?:##.*)?$", line):
            name = rule[1]
            found[name] = ({*rule[2].split()}, [])
        elif line.startswith("\t") and name:
            found[name][1].append(line.strip().removeprefix("@"))
        else:
            name = ""
    return found


def made(text: str) -> set[str]:
    """The make targets that a script calls."""
    return {
        word
        for line in re.findall(r"^ *make +([a-z -]+)", text, re.MULTILINE)
        for word in line.split()
    }


def marked(marker: str) -> set[Path]:
    """The files with tests that have a marker."""
    return {
        file
        for file in (ROOT / "polycopy_assets_tests").rglob("*.py")
        if re.search(rf"pytest\.mark\.{marker}\b", file.read_text())
    }


def jobs() -> dict[str, Any]:
    """The jobs of the portable workflow."""
    return yaml.safe_load(WORKFLOW.read_text())["jobs"]


def test_make_ci_is_everything_and_the_script_of_ci_calls_the_same():
    assert rules()["ci"][0] == CHECKED
    assert made((ROOT / ".ci" / "run").read_text()) == CHECKED


def test_a_target_that_collects_some_folders_alone_finds_every_test_of_its_marker():
    looked_at = set()
    for _, commands in rules().values():
        for command in commands:
            chosen = re.search(r"-m pytest .*-m (\w+)((?: polycopy_assets_tests/\S+)+)$", command)
            if chosen and chosen[1] != "container":  # a fixture has that mark
                folders = [ROOT / each for each in chosen[2].split()]
                elsewhere = {
                    file
                    for file in marked(chosen[1])
                    if not any(file.is_relative_to(folder) for folder in folders)
                }
                assert elsewhere == set(), command
                looked_at.add(chosen[1])
    assert looked_at == {"exhaustive", "dev", "bench", "browser", "first_hour", "cloud"}


def test_the_script_of_ci_calls_the_two_commands_checks_of_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert "make test " in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_workflow_calls_the_targets_of_make_ci_and_what_takes_too_long_for_every_change():
    called = [made(step.get("run", "")) for job in jobs().values() for step in job["steps"]]
    assert set().union(*called) == CHECKED - {"container"} | WORKFLOW_ALONE
    assert "${{ secrets" not in WORKFLOW.read_text()


def test_the_workflow_runs_on_every_python_that_the_package_names():
    named = {
        text.rpartition(" ")[2]
        for text in PROJECT["project"]["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", text)
    }
    assert set(jobs()["test"]["strategy"]["matrix"]["python"]) == named
    assert min(named) == PROJECT["project"]["requires-python"].removeprefix(">=")


def test_pre_commit_runs_the_tools_of_make_check():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    commands = [command for name in rules()["check"][0] for command in rules()[name][1]]
    tools = {each.replace("$(BIN)", ".venv/bin").removesuffix(" .") for each in commands}
    assert {hook["entry"] for hook in hooks} == tools


def test_the_package_says_that_it_is_typed_and_grants_no_licence():
    packaged = PROJECT["tool"]["setuptools"]["package-data"]["polycopy_assets"]
    assert "py.typed" in packaged
    assert (ROOT / "polycopy_assets" / "py.typed").is_file()
    assert not any(text.startswith("License") for text in PROJECT["project"]["classifiers"])
    assert "license" not in PROJECT["project"]
