"""`dagster dev` as it is used: a backfill from the UI's own interface, and a killed worker."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from polycopy_assets import record
from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployment, sample_api, truth

ROOT = Path(__file__).parents[2]
LAUNCH = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
STATUS = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } }
}
"""


QUEUED = dg.DagsterRunStatus.QUEUED


class Ui:
    """The webserver's GraphQL interface, as the UI uses it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"{self._url}/graphql", json={"query": text, "variables": variables}, timeout=30
        )
        body = answer.json()
        assert "errors" not in body, body
        return body["data"]

    def launch_backfill(self, wallets: list[str]) -> str:
        params = {"assetSelection": [{"path": ["wallet_trades"]}], "partitionNames": wallets}
        launched = self.query(LAUNCH, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return launched["backfillId"]

    def backfill_status(self, backfill_id: str) -> str:
        return self.query(STATUS, id=backfill_id)["partitionBackfillOrError"]["status"]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def dagster_dev(deployment: Deployment) -> Iterator[Ui]:
    """`dagster dev` in a process group of its own; killed with all its children at the end."""
    assert deployment.polycopy("init").returncode == 0
    port = _free_port()
    with (deployment.root / "dev.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dagster", "dev", "-w", str(ROOT / "workspace.yaml")),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            env=deployment.process_environ(),
            cwd=deployment.root,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: _answers(f"{url}/server_info"), 90, "the webserver")
            yield Ui(url)
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            for pid in _group(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.TransportError:
        return False


def _group(leader: int) -> list[int]:
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


def _worker_pid(instance: dg.DagsterInstance, run_id: str) -> int | None:
    for entry in instance.all_logs(run_id):
        found = re.search(r"Executing steps in process \(pid: (\d+)\)", entry.message)
        if found:
            return int(found[1])
    return None


def _runs(instance: dg.DagsterInstance, backfill_id: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id})))


@pytest.mark.timeout(420)
def test_a_killed_worker_is_replaced_without_a_hand_and_writes_no_more(tmp_path: Path):
    world = generate(89, 400, most_trades=10)
    keys = [wallet.lower() for wallet in world.wallets()]
    with sample_api(world) as served:
        served.state.latency = 0.5
        deployment = Deployment(tmp_path, served.url, POLYCOPY_CONCURRENCY="4")
        deployment.want(keys)
        with dagster_dev(deployment) as ui, deployment.instance() as instance:
            backfill_id = ui.launch_backfill(keys[:-1])
            wait_for(lambda: len(record.versions(instance)) >= 1, 120, "the first wallet")
            another_id = ui.launch_backfill(keys[-1:])
            wait_for(
                lambda: [r.status for r in _runs(instance, another_id)] == [QUEUED],
                90,
                "another run that waits for its turn",
            )
            run = _runs(instance, backfill_id)[0]
            pid = _worker_pid(instance, run.run_id)
            assert pid is not None
            served.state.latency = 0.05
            os.kill(pid, signal.SIGKILL)
            recorded = set(record.versions(instance))
            assert keys[-1] not in recorded, "two runs fetched under one budget"
            requests = dict(served.state.counts.requests)
            assert 1 <= len(recorded) < len(keys) - 1
            took = wait_for(
                lambda: (
                    not {"REQUESTED", "COMPLETING"}
                    & {ui.backfill_status(each) for each in (backfill_id, another_id)}
                ),
                240,
                "the end",
            )
            for each in (backfill_id, another_id):
                assert ui.backfill_status(each) == "COMPLETED_SUCCESS", record.failed(instance)
            print(f"recovered and ended {took:.0f} s after the kill")
            runs = {item.run_id: item for item in _runs(instance, backfill_id)}
            by_dead_run = record.recorded_by(instance, [run.run_id])
            assert set(record.versions(instance)) == set(keys)
            assert record.failed(instance) == []
        again = {w for w in recorded if served.state.counts.requests[w] > requests[w]}
    assert again == set(), "wallets that were recorded were asked for again"
    assert runs[run.run_id].status == dg.DagsterRunStatus.FAILURE
    assert len(runs) == 2
    assert by_dead_run <= recorded, "the killed worker went on recording"
    load = deployment.backfill()
    assert (load.requests, load.failed_checks) == (0, [])
    assert deployment.table() == truth(world)
