"""`dagster dev` as a process, and the interface that its UI uses."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from polycopy_assets_tests.deployment import Deployment

ROOT = Path(__file__).parents[1]
LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
RUN = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
TERMINATE = """
mutation ($run: String!) {
  terminateRun(runId: $run) {
    __typename
    ... on TerminateRunFailure { message }
    ... on PythonError { message }
  }
}
"""
STATUS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } }
}
"""


class Ui:
    """The webserver's GraphQL interface, as the UI uses it."""

    def __init__(self, url: str, leader: int) -> None:
        self.url = url
        self.leader = leader

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.url}/graphql", json={"query": text, "variables": variables}, timeout=30
        )
        body = answer.json()
        assert "errors" not in body, body
        return body["data"]

    def launch_backfill(
        self,
        wallets: list[str],
        *,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        params = {
            "assetSelection": [{"path": ["wallet_trades"]}],
            "partitionNames": wallets,
            "tags": [{"key": key, "value": value} for key, value in (tags or {}).items()],
            "runConfigData": {"ops": {"wallet_trades": {"config": config or {}}}},
        }
        launched = self.query(LAUNCH, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return launched["backfillId"]

    def launch_job(
        self, job: str, config: dict[str, Any], location: str = "polycopy_assets.definitions"
    ) -> str:
        params = {
            "selector": {
                "repositoryLocationName": location,
                "repositoryName": "__repository__",
                "jobName": job,
            },
            "runConfigData": config,
        }
        launched = self.query(RUN, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return launched["run"]["runId"]

    def terminate(self, run_id: str) -> None:
        ended = self.query(TERMINATE, run=run_id)["terminateRun"]
        assert ended["__typename"] == "TerminateRunSuccess", ended

    def backfill_status(self, backfill_id: str) -> str:
        return self.query(STATUS, id=backfill_id)["partitionBackfillOrError"]["status"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def dagster_dev(
    deployment: Deployment, workspace: Path | None = None, *, by_a_script: bool = False
) -> Iterator[Ui]:
    """`polycopy dev` in a process group of its own; killed with all its children at the end.

    With a `workspace`, `dagster dev` on that. A script has its background jobs ignore SIGINT.
    """
    port = free_port()
    command = ["polycopy_assets", "dev"]
    if workspace is not None:
        assert deployment.polycopy("init").returncode == 0
        command = ["dagster", "dev", "-w", str(workspace), "--host", "127.0.0.1"]
    before = ["sh", "-c", 'trap \'\' INT; exec "$0" "$@"'] if by_a_script else []
    with (deployment.root / "dev.log").open("w") as log:
        process = subprocess.Popen(
            [*before, sys.executable, "-m", *command, "--port", str(port)],
            env=deployment.process_environ(),
            cwd=deployment.root,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: answers(f"{url}/server_info"), 180, "the webserver")
            yield Ui(url, process.pid)
        finally:
            end_session(process)


def end_session(process: subprocess.Popen[Any]) -> None:
    """Interrupts the leader of a session, and kills what is left of the session."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    for pid in processes(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait(10)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.TransportError:
        return False


def processes(leader: int) -> list[int]:
    """The processes of a session that are still there."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                if os.getsid(int(path.name)) == leader:
                    found.append(int(path.name))
            except ProcessLookupError:
                continue
    return found


def wait_for(condition: Any, seconds: float, what: str) -> float:
    """Waits until `condition()` is true, and says how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"{what} did not come in {seconds} s"
        time.sleep(0.25)
    return time.monotonic() - started
