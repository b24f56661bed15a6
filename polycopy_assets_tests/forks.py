"""Processes of the command that are forked from one that has imported Dagster already.

Importing takes most of a short command's time, and the suite starts some hundred commands. What is
forked here is a process of its own, with its own id, environment, directory and output. Our code is
imported before as well, unless other code is to run first: that may change what is imported. Tests
of imports, terminals and name spaces use real new processes.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, Self

from polycopy_assets_tests import revisions

PACKAGE = "polycopy_assets"
_IMPORTED = (
    "alembic.command",
    "antlr4",
    "anyio",
    "dagster",
    "dagster._cli",
    "dagster.components",
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
    "dagster._core.storage.schedules.sqlite.sqlite_schedule_storage",
    "dotenv",
    "duckdb",
    "google_crc32c",
    "h2.connection",
    "httpx",
    "isal.igzip",
    "matplotlib.backends.backend_agg",
    "matplotlib.dates",
    "rich.progress",
    "sqlalchemy.orm",
    "stamina",
    "upath",
)
"""Nothing that starts threads, which would be missing in what is forked: so not polars."""

_BELOW = ("assembly", "event_log", "postgres_storage", "run_storage", "resources.chosen")
"""What commands import when they need it. Not Google's clients, which start threads."""

_SPILLS = "polars-ooc-clea"
_OURS = ".ours"

_REQUEST_BYTES = 1 << 20
_READY = b"ready\n"


class Forked:
    """A running `python -m MODULE ARGS`, used like `subprocess.Popen`.

    It leads a process group. What it writes is in files, so it never waits for a reader.
    """

    def __init__(
        self,
        args: Sequence[str],
        *,
        environ: Mapping[str, str],
        cwd: Path,
        first: str = "",
        module: str = PACKAGE,
    ) -> None:
        """Starts it; the code `first` runs in it before the module."""
        self.args = [module, *args]
        self.returncode: int | None = None
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - closed at its end
        self._err = tempfile.TemporaryFile()  # noqa: SIM115 - the same
        request = {"module": module, "args": [*args], "environ": {**environ}}
        request |= {"cwd": str(cwd), "first": first}
        with Path(os.devnull).open("rb") as nothing, socket.socket(socket.AF_UNIX) as talk:
            talk.connect(_parent() if first else f"{_parent()}{_OURS}")
            files = [nothing.fileno(), self._out.fileno(), self._err.fileno()]
            socket.send_fds(talk, [json.dumps(request).encode()], files)
            talk.shutdown(socket.SHUT_WR)
            self._answers = talk.makefile("rb", buffering=0)
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """How it ended, or None."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """How it ended: the exit code, or a signal's number below 0. Raises TimeoutExpired."""
        if self.returncode is None:
            if timeout is not None and not select.select([self._answers], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._said = self.written()
            self._out.close()
            self._err.close()
        return self.returncode

    def written(self) -> tuple[str, str]:
        """What it wrote to standard output and error until now."""
        return self._said if self._out.closed else (_text(self._out), _text(self._err))

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it wrote to standard output and error, once it has ended. Raises TimeoutExpired."""
        self.wait(timeout)
        return self._said

    def send_signal(self, number: int) -> None:
        """Sends it a signal, unless it is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


def run(
    args: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    first: str,
    timeout: float,
    module: str = PACKAGE,
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m MODULE ARGS`, once the code `first` was run; its end and output.

    Raises TimeoutExpired, like `subprocess.run`, after the process was killed.
    """
    process = Forked(args, environ=environ, cwd=cwd, first=first, module=module)
    try:
        out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise subprocess.TimeoutExpired(process.args, timeout, *process.communicate()) from None
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.wait(), out, err)


def _text(file: Any) -> str:
    """What is in a file, whose place is where the process writes next."""
    number = file.fileno()
    return os.pread(number, os.fstat(number).st_size, 0).decode(errors="replace")


@cache
def _parent() -> str:
    """The address of the process that is forked from; it ends with this one."""
    address = str(Path(tempfile.mkdtemp(prefix="forks")) / "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == _READY
    atexit.register(process.wait, 10)
    atexit.register(process.stdin.close)
    return address


def _serve(listening: socket.socket) -> dict[str, Any]:
    """Forks for each request until standard input ends; returns the request in what was forked."""
    with listening, selectors.DefaultSelector() as waiting:
        waiting.register(listening, selectors.EVENT_READ)
        waiting.register(sys.stdin, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in waiting.select(timeout=1.0)]
            _reap()
            if sys.stdin in ready:
                os._exit(0)
            if listening in ready:
                talk, _ = listening.accept()
                if os.fork() == 0:
                    return _forked(talk)
                talk.close()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _forked(talk: socket.socket) -> dict[str, Any]:
    """Reads the request, forks once more, and reports the id and the end of that process."""
    data, files, _, _ = socket.recv_fds(talk, _REQUEST_BYTES, 3)
    while chunk := talk.recv(_REQUEST_BYTES):
        data += chunk
    pid = os.fork()
    if pid:
        _report(talk, pid)
    talk.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    return json.loads(data)


def _report(talk: socket.socket, pid: int) -> NoReturn:
    os.setpgid(pid, pid)
    talk.sendall(f"{pid}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        talk.sendall(f"{code}\n".encode())
    except BrokenPipeError:
        code = 0  # whoever asked has given up
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Runs the module, as this process's last act."""
    gc.unfreeze()
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    sys.argv = [request["module"], *request["args"]]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it is the process's own
    sys.stdout.reconfigure(line_buffering=False)  # type: ignore[union-attr]
    if request["first"]:
        exec(request["first"], {"__name__": "__first__"})
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def _bound(address: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    return listening


def _one_of_two(address: str) -> socket.socket:
    """Forks: one process serves `address` with what it has, the other has imported our code."""
    bare, ours = _bound(address), _bound(f"{address}{_OURS}")
    if os.fork():
        ours.close()
        os.write(1, _READY)
        return bare
    bare.close()
    _import_ours()
    return ours


def _import_ours() -> None:
    """Imports what the commands import, and polars without the threads of its allocator.

    One thread of polars is left, and missing in what is forked: it removes what was spilled to a
    disk when memory was short.
    """
    os.environ["_RJEM_MALLOC_CONF"] = "dirty_decay_ms:500,muzzy_decay_ms:0,background_thread:false"
    commands = importlib.import_module(f"{PACKAGE}.cli").__path__
    for module in (*(f"cli.{found.name}" for found in pkgutil.iter_modules(commands)), *_BELOW):
        importlib.import_module(f"{PACKAGE}.{module}")
    assert _threads() == {_SPILLS}, _threads()
    gc.freeze()


def _threads() -> set[str]:
    """The names of all threads but the main one."""
    tasks = Path("/proc/self/task").iterdir()
    others = [task / "comm" for task in tasks if int(task.name) != os.getpid()]
    return {name.read_text().strip() for name in others}


if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy would start threads
    for name in _IMPORTED:
        importlib.import_module(name)
    revisions.read_now()
    assert not _threads()
    gc.freeze()
    _become(_serve(_one_of_two(sys.argv[1])))
