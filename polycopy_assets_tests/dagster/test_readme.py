"""The README's commands, run as they stand there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployment, sample_api, truth

ROOT = Path(__file__).parents[2]
PROGRAMS = {".venv/bin/polycopy": "polycopy_assets", ".venv/bin/dagster": "dagster"}


def commands() -> list[list[str]]:
    """Every command of the README's shell blocks that calls one of our programs."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words and words[0] in PROGRAMS]


def test_every_command_of_the_readme_works_as_it_stands_there(tmp_path: Path):
    found = commands()
    wallets = {word for words in found for word in words if word.startswith("0x")}
    assert len(found) == 7
    assert len(wallets) == 1
    world = generate(97, 3, whales=3, whale_trades=20)
    (tmp_path / "my-wallets.txt").write_text("\n".join(world.wallets()))
    with sample_api(world) as served:
        deployment = Deployment(tmp_path, served.url)
        for program, *arguments in found:
            done = subprocess.run(
                [sys.executable, "-m", PROGRAMS[program], *arguments],
                env=deployment.process_environ(),
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, (program, arguments, done.stderr)
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
