"""The files of runs: their own logs (SQLite only), what they printed, and locks of dead runs."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import dagster as dg

from polycopy_assets.errors import PolycopyError
from polycopy_assets.guard.heartbeat import run_lock
from polycopy_assets.guard.instance_locks import FOLDER, instance_locks
from polycopy_assets.guard.lock import Locks, this_process
from polycopy_assets.record.private.database import postgres_url
from polycopy_assets.record.private.stored_events import NO_RUN, PAGE, StoredEvents
from polycopy_assets.retention.failures import Failures

_OF_SQLITE = ("", "-wal", "-shm", "-journal")
_FOLDERS = ("history", "schedules", "storage", FOLDER)
_LOCK = "run-"


def size_of_home(instance: dg.DagsterInstance) -> int:
    """Bytes of the files in which the instance keeps runs, events, ticks, logs and locks."""
    total = 0
    for folder in _FOLDERS:
        for path in (Path(instance.root_directory) / folder).rglob("*"):
            with suppress(FileNotFoundError):  # deleted since it was listed
                total += path.stat().st_size if path.is_file() else 0
    return total


class RunFiles:
    """The files of runs of one instance; counts those that are deleted, or would be.

    A file that cannot be deleted stops nothing: it is added to `failures`.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        stored: StoredEvents,
        failures: Failures,
        *,
        dry_run: bool,
    ) -> None:
        self.files = 0
        self.bytes = 0
        self._instance = instance
        self._home = Path(instance.root_directory)
        self._stored = stored
        self._failures = failures
        self._dry_run = dry_run

    def delete_log(self, run_id: str) -> None:
        """Deletes the file with the run's own log, if there is one."""
        if database := self._stored.run_file(run_id):
            for ending in _OF_SQLITE:
                self._delete(database.with_name(database.name + ending))

    def forget_log(self, run_id: str) -> None:
        """Deletes the empty file that Dagster has made for the log of a deleted run."""
        files, size = self.files, self.bytes
        self.delete_log(run_id)
        self.files, self.bytes = files, size

    def delete_output(self, run_id: str) -> None:
        """Deletes what the run printed, here and where Dagster keeps such output."""
        # The files here first: they are counted, and Dagster's own storage deletes them too. If one
        # of them stays, it fails at the same file; the next maintenance finds the folder again.
        if not self._delete_folder(self._home / "storage" / run_id) or self._dry_run:
            return
        manager = self._instance.compute_log_manager
        try:
            manager.delete_logs(prefix=[run_id])
        except Exception as error:  # noqa: BLE001 - counted; any storage of output may be configured
            self._failures.add(f"output of run {run_id} in {type(manager).__name__}", error)

    def delete_leftovers(self, before: float, check: Callable[[], None]) -> None:
        """Deletes the files of runs that no longer exist, and the locks of those that have ended.

        The log of events without a run goes if nothing was written to it since `before` (epoch
        seconds): the record is read from the index, never from there.
        """
        # Listed first: a run is in the database before it has a file.
        for run_id in self._gone([*self._logs(), *self._outputs()]):
            check()
            self.delete_log(run_id)
            self.delete_output(run_id)
        without_run = self._stored.run_file(NO_RUN)
        if without_run and without_run.is_file() and without_run.stat().st_mtime < before:
            self.delete_log(NO_RUN)
        self._delete_locks()

    def _logs(self) -> Iterator[str]:
        example = self._stored.run_file("example")
        for path in example.parent.glob("*.db") if example else ():
            if _is_run_id(path.stem):
                yield path.stem

    def _outputs(self) -> Iterator[str]:
        for path in (self._home / "storage").glob("*"):
            if _is_run_id(path.name):
                yield path.name

    def _gone(self, run_ids: Sequence[str]) -> list[str]:
        """Those of `run_ids` that are no runs of this instance."""
        named = sorted(set(run_ids))
        known: set[str] = set()
        for start in range(0, len(named), PAGE):
            page = named[start : start + PAGE]
            known.update(self._instance.get_run_ids(dg.RunsFilter(run_ids=page)))
        return [run_id for run_id in named if run_id not in known]

    def _delete_locks(self) -> None:
        """Deletes the lock files of processes that were killed: free ones, of runs that ended."""
        if postgres_url(self._instance):
            return  # its locks are in the database: such files are not its own
        locks = instance_locks(self._instance)
        for path in sorted((self._home / FOLDER).glob(f"{_LOCK}*.lock")):
            run_id = path.stem.removeprefix(_LOCK)
            if not _is_run_id(run_id):
                continue
            run = self._instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                continue
            try:
                self._delete_lock(locks, path, run_lock(run_id))
            except PolycopyError as error:
                self._failures.add(path, error)

    def _delete_lock(self, locks: Locks, path: Path, name: str) -> None:
        if locks.holder(name) is not None:
            return
        size = 0
        with suppress(FileNotFoundError):
            size = path.stat().st_size
        if not self._dry_run:
            lock = locks.try_acquire(name, this_process("maintain"))
            if lock is None:
                return
            lock.release()  # which removes the file
        self._count(size)

    def _delete_folder(self, folder: Path) -> bool:
        """Deletes a folder with all that is in it; returns whether nothing of it was left."""
        if folder.is_symlink():
            return self._delete(folder)  # what it names may be anybody's
        gone = True

        def unlisted(error: OSError) -> None:
            nonlocal gone
            if not isinstance(error, FileNotFoundError):
                self._failures.add(error.filename, error)
                gone = False

        for parent, folders, files in os.walk(folder, topdown=False, onerror=unlisted):
            within = Path(parent)
            links = [name for name in folders if (within / name).is_symlink()]
            for name in sorted((*files, *links)):
                gone = self._delete(within / name) and gone
            if gone and not self._dry_run:
                gone = self._attempt(within, within.rmdir)
        return gone

    def _delete(self, path: Path) -> bool:
        """Deletes a file, or only counts it; returns whether it does not stand in the way."""

        def delete() -> None:
            size = path.lstat().st_size
            if not self._dry_run:
                path.unlink()
            self._count(size)

        return self._attempt(path, delete)

    def _attempt(self, path: Path, delete: Callable[[], None]) -> bool:
        """Whether `delete` worked or `path` was gone already; otherwise it is a failure."""
        try:
            delete()
        except FileNotFoundError:
            return True
        except OSError as error:
            self._failures.add(path, error)
            return False
        return True

    def _count(self, size: int) -> None:
        self.files += 1
        self.bytes += size


def _is_run_id(text: str) -> bool:
    with suppress(ValueError):
        return str(UUID(text)) == text
    return False
