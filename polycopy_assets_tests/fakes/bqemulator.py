"""bqemulator, the third-party emulator of BigQuery, in an environment and a process of its own.

It wants to download a DuckDB extension when it starts, which it does not need for what we do; so
it is started with that step left out. And it does not pass a query's parameters to the statements
of a multi-statement query; so they are bound for it.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polycopy_assets_tests.fakes.gcs import await_answer, free_port

PYTHON = Path(__file__).parents[2] / ".venv-bqemulator" / "bin" / "python"
_LAUNCH = """
from contextvars import ContextVar

from bqemulator.storage.engine import DuckDBEngine
DuckDBEngine._load_spatial = lambda self: None
from bqemulator.api.routes import jobs
from bqemulator.scripting import interpreter

given = ContextVar("given", default=None)
execute, bind = jobs.execute_query_job, interpreter.bind_parameters

async def execute_with(project, job, sql, parameters, *rest, **options):
    given.set(parameters)
    return await execute(project, job, sql, parameters, *rest, **options)

jobs.execute_query_job = execute_with
interpreter.bind_parameters = lambda sql, _: bind(sql, given.get())

from bqemulator.cli import main
main()
"""


def installed() -> bool:
    """Whether `make test` has installed it."""
    return PYTHON.exists()


@contextmanager
def bqemulator(log: Path, gcs_root: Path) -> Iterator[str]:
    """The emulator's address; it reads gs:// from the directory that a GCS server writes to."""
    port, grpc = free_port(), free_port()
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(str(PYTHON), "-c", _LAUNCH, "start"),
                *("--rest-port", str(port), "--grpc-port", str(grpc)),
            ],
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "BQEMU_GCS_LOCAL_ROOT": str(gcs_root),
                "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
            },
            cwd=log.parent,
            stdout=output,
            stderr=output,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            await_answer(f"{url}/bigquery/v2/projects/p/datasets", process)
            yield url
        finally:
            process.terminate()
            process.wait(20)
