"""Killed while Dagster's databases are being created: the next start creates them whole."""

import subprocess
import sys
import time
from pathlib import Path

from polycopy_assets_tests.deployment import Deployment


def test_killed_while_the_databases_are_created_the_next_start_works(tmp_path: Path):
    deployment = Deployment(tmp_path, "http://127.0.0.1:9")
    home = tmp_path / "dagster"
    killed_over = 0
    for pause in (0.0, 0.03, 0.06, 0.1, 0.15, 0.2):
        with subprocess.Popen(
            [sys.executable, "-m", "polycopy_assets", "init"],
            env=deployment.process_environ(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while process.poll() is None and not (home / ".creating").exists():
                time.sleep(0.001)
            time.sleep(pause)
            process.kill()
        killed_over += (home / ".creating").exists()
        if not (home / ".creating").exists():
            break
    assert killed_over
    done = deployment.polycopy("status", "--json")
    assert done.returncode == 0, done.stderr
    assert not (home / ".creating").exists()


def test_databases_that_were_finished_are_never_put_aside(tmp_path: Path):
    deployment = Deployment(tmp_path, "http://127.0.0.1:9")
    wallet = "0x" + "a" * 40
    assert deployment.polycopy("wallets", "add", wallet).returncode == 0
    assert not list((tmp_path / "dagster").glob("*half-made*"))
    assert not (tmp_path / "dagster" / ".creating").exists()
    assert '"total":1' in deployment.polycopy("status", "--json").stdout
