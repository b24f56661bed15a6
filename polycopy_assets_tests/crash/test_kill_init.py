"""Killed while Dagster's databases are being created: the next start creates them whole."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.record.instance import prepare
from polycopy_assets_tests.deployment import Deployment

pytestmark = pytest.mark.files

DIES_BEFORE_THE_MARKER_GOES = """
import os, pathlib
unlink = pathlib.Path.unlink
def dying(self, *args, **options):
    if self.name == ".creating":
        os.kill(os.getpid(), 9)
    unlink(self, *args, **options)
pathlib.Path.unlink = dying
"""
DIES_AS_THE_YAML_IS_WRITTEN = """
import os, io, polycopy_assets.system.sharing as sharing
make_file = sharing.make_file
def dying(path, *args, **options):
    handle = make_file(path, *args, **options)
    if "dagster.yaml" in path.name:
        os.kill(os.getpid(), 9)
    return handle
sharing.make_file = dying
"""
FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
"""


def test_killed_while_the_databases_are_created_the_next_start_works(
    tmp_path: Path, deployment: Deployment
):
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


def test_databases_that_were_finished_are_never_put_aside(tmp_path: Path, deployment: Deployment):
    wallet = "0x" + "a" * 40
    assert deployment.polycopy("wallets", "add", wallet).returncode == 0
    assert not list((tmp_path / "dagster").glob("*half-made*"))
    assert not (tmp_path / "dagster" / ".creating").exists()
    assert '"total":1' in deployment.polycopy("status", "--json").stdout


def killed(deployment: Deployment, first: str) -> None:
    assert deployment.polycopy("init", first=first).returncode == -signal.SIGKILL


@pytest.mark.parametrize("what", ["a partition", "an event", "a run", "nothing"])
def test_killed_when_they_were_whole_what_was_kept_since_stays(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
):
    deployment, home = Deployment(tmp_path, "http://127.0.0.1:9"), tmp_path / "dagster"
    killed(deployment, DIES_BEFORE_THE_MARKER_GOES)
    assert (home / ".creating").exists()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    wallet = "0x" + "a" * 40
    with dg.DagsterInstance.from_config(str(home)) as instance:
        if what == "a partition":
            instance.add_dynamic_partitions("wallets", [wallet])
        elif what == "an event":
            instance.report_runless_asset_event(dg.AssetMaterialization("kept"))
        elif what == "a run":
            dg.materialize([dg.AssetSpec("x")], instance=instance)  # type: ignore[list-item]
    done = deployment.polycopy("status", "--json")
    assert done.returncode == 0, done.stderr
    put_aside = list(home.glob("*half-made*"))
    assert bool(put_aside) == (what == "nothing")
    assert not (home / ".creating").exists()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert instance.get_dynamic_partitions("wallets") == [wallet] * (what == "a partition")
        assert len(instance.all_asset_keys()) == (what == "an event")
        assert instance.get_runs_count() == (what == "a run")


def test_a_database_that_cannot_be_read_is_not_put_aside(tmp_path: Path):
    deployment, home = Deployment(tmp_path, "http://127.0.0.1:9"), tmp_path / "dagster"
    killed(deployment, DIES_BEFORE_THE_MARKER_GOES)
    (home / "history" / "runs.db").write_bytes(b"garbage" * 1000)
    done = deployment.polycopy("status")
    assert done.returncode == 1
    assert "file is not a database" in done.stderr
    assert not list(home.glob("*half-made*"))


def test_killed_while_dagster_yaml_is_written_the_next_start_writes_it(tmp_path: Path):
    deployment, home = Deployment(tmp_path, "http://127.0.0.1:9"), tmp_path / "dagster"
    killed(deployment, DIES_AS_THE_YAML_IS_WRITTEN)
    assert not (home / "dagster.yaml").exists()
    assert prepare(str(home))
    assert "PooledSqliteEventLogStorage" in (home / "dagster.yaml").read_text()
    assert not prepare(str(home))


def test_a_full_disk_leaves_no_dagster_yaml(tmp_path: Path):
    deployment, home = Deployment(tmp_path, "http://127.0.0.1:9"), tmp_path / "dagster"
    done = deployment.polycopy("init", first=FULL_DISK)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert os.listdir(home) == []  # noqa: PTH208 - hidden ones too


def test_an_empty_dagster_yaml_counts_as_none_and_another_is_left_as_it_is(tmp_path: Path):
    (tmp_path / "dagster.yaml").touch()
    assert prepare(str(tmp_path))
    assert "telemetry" in (tmp_path / "dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text("# mine\n")
    assert not prepare(str(tmp_path))
    assert (tmp_path / "dagster.yaml").read_text() == "# mine\n"
    assert [path.name for path in tmp_path.iterdir()] == ["dagster.yaml"]
