"""The Dagster instance: its home made ready, and runs that died with their process ended."""

import fcntl
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import dagster as dg

from polycopy_assets.errors import ConfigurationError

_CREATING = ".creating"
_DATABASES = ("history", "schedules", "storage")
WORKER_TAG = "polycopy/worker"
_UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def prepare(home: str) -> bool:
    """Makes `home` a Dagster home with our `dagster.yaml`, if there is none; True if it was made.

    An existing `dagster.yaml` is left as it is. Raises ConfigurationError if it cannot be written.
    """
    path = Path(home) / "dagster.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return False
        path.write_text((resources.files("polycopy_assets") / "dagster.yaml").read_text())
    except OSError as error:
        raise ConfigurationError(
            f"DAGSTER_HOME={home!r} cannot be written: {error.strerror}"
        ) from error
    return True


@contextmanager
def opened(home: str) -> Iterator[dg.DagsterInstance]:
    """The instance at `home`, prepared; the databases exist when it is handed out.

    From then on DAGSTER_HOME names it, for this process and those it starts.
    """
    prepare(home)
    os.environ["DAGSTER_HOME"] = home
    # Two processes that create the databases at once: one of them would die of it.
    with _alone(home), _created_whole(Path(home)):
        instance = dg.DagsterInstance.from_config(home)
        instance.get_runs_count()
        instance.get_dynamic_partitions("wallets")
    with instance:
        yield instance


@contextmanager
def _created_whole(home: Path) -> Iterator[None]:
    """Creates the databases whole: those that a process died over are put out of the way first.

    A killed creation leaves tables that the next one trips over. The marker is there only while
    nothing has ever been kept in them.
    """
    marker = home / _CREATING
    databases = [home / name for name in _DATABASES if (home / name).exists()]
    if marker.exists():
        for database in databases:
            database.rename(home / f"{database.name}.half-made-{uuid.uuid4().hex[:8]}")
        databases = []
    if not databases:
        marker.touch()
    yield
    marker.unlink(missing_ok=True)


@contextmanager
def _alone(home: str) -> Iterator[None]:
    """Waits until no other process is at this point for `home`."""
    with (Path(home) / ".opening").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def worker() -> str:
    """What names this process in the tags of its runs: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks as failed the runs whose `polycopy` process is gone; their run ids.

    Nothing that they recorded is lost: a wallet is recorded when it is durable, and the next
    fetch goes on behind the last segment.
    """
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        host, _, pid = run.tags.get(WORKER_TAG, "").rpartition(":")
        if host == socket.gethostname() and not _alive(int(pid)):
            instance.report_run_failed(run, f"the process {pid} that ran it is gone")
            ended.append(run.run_id)
    return ended


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
