"""Processes of the command that are forked from one that has imported Dagster already.

Importing Dagster takes most of a short command's time, and the suite starts some hundred commands.
What is forked here is a process of its own, with its own id, environment, directory and output,
and it imports our code itself. Tests of signals, terminals and start-up use real new processes.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from polycopy_assets_tests import revisions

PACKAGE = "polycopy_assets"
_IMPORTED = (
    "alembic.command",
    "antlr4",
    "anyio",
    "dagster",
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

_REQUEST_BYTES = 1 << 20
_READY = b"ready\n"


def run(
    args: Sequence[str], *, environ: Mapping[str, str], cwd: Path, first: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m polycopy_assets ARGS`, once the code `first` was run; its end and output.

    Raises TimeoutExpired, like `subprocess.run`, after the process was killed.
    """
    request = {"args": [*args], "environ": {**environ}, "cwd": str(cwd), "first": first}
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        Path(os.devnull).open("rb") as nothing,
        socket.socket(socket.AF_UNIX) as talk,
    ):
        talk.connect(_parent())
        files = [nothing.fileno(), out.fileno(), err.fileno()]
        socket.send_fds(talk, [json.dumps(request).encode()], files)
        talk.shutdown(socket.SHUT_WR)
        talk.settimeout(timeout)
        answers = talk.makefile("rb")
        pid = int(answers.readline())
        try:
            code = int(answers.readline())
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(["polycopy", *args], timeout, _text(out), _text(err))  # noqa: B904
        return subprocess.CompletedProcess(["polycopy", *args], code, _text(out), _text(err))


def _text(file: Any) -> str:
    file.seek(0)
    return file.read().decode()


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


def _serve(address: str) -> dict[str, Any]:
    """Forks for each request until standard input ends; returns the request in what was forked."""
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as waiting:
        listening.bind(address)
        listening.listen(64)
        waiting.register(listening, selectors.EVENT_READ)
        waiting.register(sys.stdin, selectors.EVENT_READ)
        os.write(1, _READY)
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
    talk.sendall(f"{pid}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        talk.sendall(f"{code}\n".encode())
    except BrokenPipeError:
        code = 0  # whoever asked has given up
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Runs the command, as this process's last act."""
    gc.unfreeze()
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    sys.argv = [PACKAGE, *request["args"]]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it is the process's own
    sys.stdout.reconfigure(line_buffering=False)  # type: ignore[union-attr]
    if request["first"]:
        exec(request["first"], {"__name__": "__first__"})
    runpy.run_module(PACKAGE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy would start threads
    for name in _IMPORTED:
        importlib.import_module(name)
    revisions.read_now()
    assert len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    gc.freeze()
    _become(_serve(sys.argv[1]))
