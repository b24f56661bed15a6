"""The README's commands, run as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.old_job import OldJob, old_file

ROOT = Path(__file__).parents[2]
PROGRAMS = (".venv/bin/polycopy", ".venv/bin/dagster", ".venv/bin/dg")


def shell_commands(document: Path) -> list[list[str]]:
    """Every command of a document's shell blocks, as words."""
    blocks = re.findall(r"```sh\n(.*?)```", document.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def commands(document: str) -> list[list[str]]:
    """Those of a document that call one of our programs."""
    return [words for words in shell_commands(ROOT / document) if words[0] in PROGRAMS]


def run(words: list[str], deployment: Deployment) -> subprocess.CompletedProcess[str]:
    """Runs a command as it stands there, on `deployment`."""
    program, *arguments = words
    if program.endswith("/polycopy"):
        return deployment.polycopy(*arguments, timeout=120)
    is_dg = program.endswith("/dg")
    return subprocess.run(
        [sys.executable, "-m", "dagster_dg_cli.cli" if is_dg else "dagster", *arguments],
        env=deployment.process_environ(),
        cwd=ROOT if is_dg else deployment.root,  # `dg` works where pyproject.toml is
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("document", "number"), [("docs/reconciliation.md", 7), ("docs/migrating.md", 4)]
)
def test_the_commands_about_an_old_jobs_remains_work_as_they_stand_there(
    deployed: Deployed, document: str, number: int
):
    found = commands(document)
    assert len(found) == number
    world = generate(98, 12, most_trades=20)
    with deployed(world) as (deployment, _):
        old = OldJob(deployment)
        for index, wallet in enumerate(world.wallets()):
            trades = world.truth(wallet)
            if index % 2:
                old.put(wallet.lower(), old_file(trades))
            old.tick(wallet, len(trades), at=LAST + 864_000)
        old.write()
        assert run(found[0], deployment).returncode == 1, "there is something to find"
        for words in found[1:]:
            done = run(words, deployment)
            assert done.returncode == 0, (words, done.stderr)
    assert deployment.table() == truth(world)


def test_every_command_of_the_readme_works_as_it_stands_there(tmp_path: Path, deployed: Deployed):
    found = commands("README.md")
    wallets = {word for words in found for word in words if word.startswith("0x")}
    assert len(found) == 15
    assert len(wallets) == 1
    world = generate(97, 3, whales=3, whale_trades=20)
    (tmp_path / "my-wallets.txt").write_text("\n".join(world.wallets()))
    with deployed(world) as (deployment, _):
        for words in found:
            done = run(words, deployment)
            assert done.returncode == 0, (words, done.stderr)
    assert deployment.table() == truth(world)
    with deployment.instance() as instance:
        assert set(instance.get_dynamic_partitions("wallets")) >= wallets


def test_the_two_commands_of_the_readme_are_targets_of_the_makefile():
    readme = (ROOT / "README.md").read_text()
    done = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for target in re.findall(r"^make ([a-z]+)", readme, re.MULTILINE):
        assert f"make {target} " in done.stdout
