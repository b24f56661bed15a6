"""What `polycopy maintain` cannot delete or shrink stops nothing, and is told with its reason."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from polycopy_assets.definitions import build
from polycopy_assets_tests.dagster.test_ours import of_ours
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.years import later, maintained

GONE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def home(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a deployment in which old runs of ours have ended."""
    with deployment.instance() as instance:
        of_ours(instance, deployment, dg.DagsterRunStatus.FAILURE)
    later(monkeypatch)
    return Path(deployment.settings.home)


def not_a_file(home: Path) -> Path:
    """A folder where a run's log would be: no user can unlink it."""
    log = home / "history" / "runs" / f"{GONE}.db"
    log.mkdir(parents=True)
    return log


def printed(home: Path, name: str = "x.out") -> Path:
    """A file that a run which no longer exists has printed."""
    file = home / "storage" / GONE / "compute_logs" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("said")
    return file


def refuse(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *paths: Path) -> None:
    """Deletions of `paths` fail: the tests may run as root, for whom modes are no obstacle."""
    real = getattr(owner, name)

    def refusing(path: Path) -> None:
        if path in paths:
            raise PermissionError(13, "Permission denied", str(path))
        real(path)

    monkeypatch.setattr(owner, name, refusing)


@pytest.mark.files
def test_a_log_that_cannot_be_deleted_is_told_and_all_else_goes(deployment: Deployment, home: Path):
    log, output = not_a_file(home), printed(home)
    with deployment.instance() as instance:
        freed = maintained(instance)
        assert freed.runs
        assert (freed.failures, freed.first_failure) == (1, f"{log}: Is a directory")
        assert not output.exists()
        again = maintained(instance)
        assert (again.failures, again.files) == (1, 0), "it is told each time"
        log.rmdir()
        assert maintained(instance).failures == 0


@pytest.mark.files
def test_the_command_tells_what_was_left(deployment: Deployment, home: Path):
    log = not_a_file(home)
    code, said = deployment.here("maintain", "--keep-days", "0", "--json")
    assert (code, json.loads(said)["failures"]) == (0, 1)
    assert json.loads(said)["first_failure"] == f"{log}: Is a directory"
    code, said = deployment.here("maintain", "--keep-days", "0")
    assert code == 0
    assert "1 could not be deleted or shrunk and stay until the next maintenance" in said
    assert f"{log}: Is a directory" in said
    log.rmdir()
    assert "could not" not in deployment.here("maintain", "--keep-days", "0")[1]


@pytest.mark.files
def test_the_run_of_the_job_tells_it_in_its_log_and_metadata(deployment: Deployment, home: Path):
    log = not_a_file(home)
    with deployment.instance() as instance:
        job = build(deployment.settings).resolve_job_def("maintain")
        config = {"ops": {"delete_old": {"config": {"keep_days": 0}}}}
        ended = job.execute_in_process(instance=instance, run_config=config)
        said = [event.user_message for event in instance.all_logs(ended.run_id)]
    assert any(text.startswith("1 could not be deleted") and str(log) in text for text in said)
    (output,) = [e for e in ended.all_events if e.is_successful_output]
    metadata = output.step_output_data.metadata
    assert metadata["failures"].value == 1
    assert metadata["first_failure"].value == f"{log}: Is a directory"


@pytest.mark.parametrize("what", ["file", "folder"])
def test_output_that_cannot_be_deleted_is_told_once_and_the_rest_of_it_goes(
    deployment: Deployment, home: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    stuck, other = printed(home), printed(home, "y.out")
    with deployment.instance() as instance:
        with monkeypatch.context() as patch:
            if what == "file":
                refuse(patch, Path, "unlink", stuck)
            else:
                refuse(patch, Path, "rmdir", stuck.parent)
            freed = maintained(instance)
        left = stuck if what == "file" else stuck.parent
        assert (freed.failures, freed.first_failure) == (1, f"{left}: Permission denied")
        assert left.exists()
        assert not other.exists()
        assert maintained(instance).failures == 0
    assert not (home / "storage" / GONE).exists()


def test_links_in_the_output_go_and_what_they_name_stays(
    deployment: Deployment, home: Path, tmp_path: Path
):
    output = printed(home)
    kept = tmp_path / "kept" / "file"
    kept.parent.mkdir()
    kept.write_text("kept")
    (output.parent / "folder").symlink_to(kept.parent)
    (output.parent / "file").symlink_to(kept)
    (output.parent / "nothing").symlink_to(tmp_path / "nothing")
    moved = home / "storage" / GONE.replace("4000", "4001")
    moved.symlink_to(kept.parent)
    with deployment.instance() as instance:
        assert maintained(instance).failures == 0
    assert not (home / "storage" / GONE).exists()
    assert not moved.is_symlink()
    assert kept.read_text() == "kept"


@pytest.mark.files
def test_a_lock_that_cannot_be_used_is_told_and_those_of_others_stay(
    deployment: Deployment, home: Path
):
    locks = home / "locks"
    unusable, free = (locks / f"run-{GONE.replace('4000', n)}.lock" for n in ("4000", "4001"))
    unusable.mkdir(parents=True)
    free.write_text("")
    others = locks / "run-of a person.lock"
    others.write_text("")
    with deployment.instance() as instance:
        freed = maintained(instance)
        assert freed.failures == 1
        assert freed.first_failure.startswith(f"{unusable}: PolycopyError: the lock {unusable} can")
        assert (free.exists(), others.exists()) == (False, True)
        assert maintained(instance).files == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotImplementedError(), "NotImplementedError"),
        (ValueError("no\nbucket"), "ValueError: no bucket"),
    ],
    ids=["cannot delete", "fails"],
)
def test_a_storage_of_output_that_does_not_delete_is_told_by_run(
    deployment: Deployment,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
):
    printed(home)

    def failing(*, prefix: Sequence[str]) -> None:
        assert prefix
        raise error

    with deployment.instance() as instance:
        manager = instance.compute_log_manager
        monkeypatch.setattr(manager, "delete_logs", failing)
        freed = maintained(instance)
        assert freed.runs
        assert freed.failures == freed.runs + 1
        assert freed.first_failure.startswith("output of run ")
        assert freed.first_failure.endswith(f" in {type(manager).__name__}: {reason}")


@pytest.mark.files
def test_a_locked_database_is_told(deployment: Deployment, home: Path):
    path = home / "schedules" / "schedules.db"
    with deployment.instance() as instance:
        locked = sqlite3.connect(path, isolation_level=None)
        locked.execute("CREATE TABLE filler AS SELECT randomblob(1000000) AS bytes")
        locked.execute("DROP TABLE filler")
        locked.execute("BEGIN IMMEDIATE")
        try:
            freed = maintained(instance)
        finally:
            locked.close()
        assert freed.first_failure == f"{path}: OperationalError: database is locked"
        assert maintained(instance).failures == 0


def test_output_that_dagster_deletes_too_is_counted_the_same_by_a_dry_run(
    deployment: Deployment, home: Path, monkeypatch: pytest.MonkeyPatch
):
    manager = LocalComputeLogManager(str(home / "storage"))
    monkeypatch.setattr(dg.DagsterInstance, "compute_log_manager", manager)
    with deployment.instance() as instance:
        for run in instance.get_run_ids():
            file = home / "storage" / run / "compute_logs" / "x.out"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("said")
        would = maintained(instance, dry_run=True)
        done = maintained(instance)
        assert would.runs == done.runs > 0
        assert (would.files, would.file_bytes) == (done.files, done.file_bytes)
        assert done.files >= done.runs
