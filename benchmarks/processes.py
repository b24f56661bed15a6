"""Child processes and what they cost: time, processor time, and memory of the whole tree."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

ROOT = Path(__file__).parents[1]
SAMPLE_SECONDS = 0.05
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A process that has ended: `seconds` and `cpu` (user + system) in seconds, `peak` in MB.

    `peak` is the most resident memory of the process and its descendants together, sampled 20 times
    a second, and at least what the kernel says of the process alone. `ended_at` is in epoch
    seconds.
    """

    code: int
    seconds: float
    cpu: float
    peak: float
    ended_at: float
    out: str
    err: str

    def checked(self) -> "Ended":
        """Itself, if it ended well; raises SystemExit, with what it said, if not."""
        if self.code:
            raise SystemExit(f"exit code {self.code}: {self.out[-1000:]}{self.err[-3000:]}")
        return self


def run(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    kill_when: Callable[[], bool] | None = None,
) -> Ended:
    """Runs a process to its end, or, with `kill_when`, until that is true: then it is killed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            arguments,
            env=environ,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        with _peak(process.pid) as sampled:
            try:
                if kill_when is not None:
                    _kill(process, kill_when)
                _, status, used = os.wait4(process.pid, 0)
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
            ended_at, seconds = time.time(), time.perf_counter() - started
        said, complained = (_all_of(file) for file in (out, err))
    process.returncode = os.waitstatus_to_exitcode(status)
    largest = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Ended(
        code=process.returncode,
        seconds=seconds,
        cpu=used.ru_utime + used.ru_stime,
        peak=max(largest, sampled()) / 2**20,
        ended_at=ended_at,
        out=said,
        err=complained,
    )


def _all_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _kill(process: subprocess.Popen[bytes], when: Callable[[], bool]) -> None:
    """Kills the process and its descendants as soon as `when` is true, unless it has ended."""
    while not when():
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _peak(pid: int) -> Iterator[Callable[[], int]]:
    """Samples the memory of the tree below `pid`; the function says the most, in bytes."""
    most, done = 0, threading.Event()

    def sample() -> None:
        nonlocal most
        while not done.wait(SAMPLE_SECONDS):
            most = max(most, _resident_of_tree(pid))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: most
    finally:
        done.set()
        thread.join()


def resident(pid: int) -> float:
    """Resident memory of a process and its descendants together, in MB, where the system tells."""
    return _resident_of_tree(pid) / 2**20


def _resident_of_tree(pid: int) -> int:
    return sum(_resident(each) for each in _tree(pid))


def _tree(pid: int) -> Iterator[int]:
    """The process and its descendants, where the system tells them (Linux)."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from _tree(int(child))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
