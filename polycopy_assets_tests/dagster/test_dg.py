"""`dg` in the checkout: `[tool.dg]` of `pyproject.toml`, as people type it there."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from polycopy_assets.cli.dev import LOCATION
from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.dev import Ui, answers, end_session, free_port, wait_for
from polycopy_assets_tests.of_trades import record_in

ROOT = Path(__file__).parents[2]

COMMANDS = """
import json, sys
from dagster_dg_cli.cli import create_dg_cli
command = create_dg_cli()
for arguments in json.loads(sys.argv[1]):
    print("$", *arguments, flush=True)
    command.main(arguments, standalone_mode=False)
"""
"""Several commands in one process: most of the time of each is Dagster's import."""

LOCATIONS = "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"


def environ(deployment: Deployment) -> dict[str, str]:
    return {**deployment.process_environ(), "COLUMNS": "200", "VIRTUAL_ENV": str(ROOT / ".venv")}


def run(*commands: list[str], environ: Mapping[str, str], cwd: Path = ROOT) -> str:
    """What the commands print, one after the other; each must end well."""
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        env=dict(environ),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "To suppress this warning" not in done.stderr
    return done.stdout


def listed(text: str) -> dict[str, Any]:
    """The object that `dg list defs --json` prints."""
    return json.JSONDecoder().raw_decode(text[text.index("\n{") + 1 :])[0]


@pytest.mark.kept
@pytest.mark.timeout(300)
def test_dg_checks_lists_and_launches_in_the_checkout(deployed: Deployed):
    world = generate(61, 3, most_trades=20)
    wallet, *others = (each.lower() for each in world.wallets())
    with deployed(world) as (deployment, _):
        deployment.want([wallet, *others])
        said = run(
            ["check", "defs"],
            ["list", "defs", "--json"],
            ["launch", "--assets", "wallet_trades", "--partition", wallet],
            ["launch", "--assets", "combined_trades,trades"],
            environ=environ(deployment),
        )
        with deployment.instance() as instance:
            assert set(record_in(instance).versions()) == {wallet}
            runs = instance.get_runs()
            assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    assert "All definitions loaded successfully." in said
    found = listed(said)
    assert {"wallet_trades", "combined_trades", "trades"} <= {
        each["asset_key"] for each in found["assets"]
    }
    assert {"fetch", "load"} <= {each["name"] for each in found["jobs"]}
    assert deployment.table() == truth(world, world.wallets()[:1])


@pytest.mark.dev
@pytest.mark.kept
@pytest.mark.timeout(200)
def test_dg_dev_opens_the_ui_on_the_code_location_of_that_name(
    tmp_path: Path, deployment: Deployment
):
    assert deployment.polycopy("init").returncode == 0
    port = free_port()
    with (tmp_path / "dg.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster_dg_cli.cli", "dev", "-h", "127.0.0.1", "-p", str(port)],
            env=environ(deployment),
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            ui = Ui(f"http://127.0.0.1:{port}", process.pid)
            wait_for(lambda: answers(f"{ui.url}/server_info"), 120, "the webserver")
            found = ui.query(LOCATIONS)["workspaceOrError"]["locationEntries"]
            assert found == [{"name": LOCATION, "loadStatus": "LOADED"}]
        finally:
            end_session(process)
