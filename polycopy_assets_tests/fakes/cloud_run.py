"""Cloud Run's jobs on loopback: the Admin API, and tasks that are real processes.

Requests are held against Google's own description of the API (`run.v1`), and against rules of its
pages below https://cloud.google.com/run/docs, named beside each of them. A task's disk is memory:
each attempt gets a new one.
"""

import copy
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from polycopy_assets_tests.fakes.answering import Refused, answering_json
from polycopy_assets_tests.fakes.image import Image, NotStarted
from polycopy_assets_tests.google_apis import faults

Body = dict[str, Any]
GRACE_SECONDS = 10
"""Between SIGTERM and SIGKILL (reference/container-contract)."""

_V1 = "apis/run.googleapis.com/v1/namespaces"
_V2 = r"v2/projects/([^/]+)/locations/[^/]+/jobs/([^/:]+):run"
_POLICY = r"v1/projects/[^/]+/locations/[^/]+/jobs/([^/:]+):([gs]etIamPolicy)"
_OF_JOB = "run.googleapis.com/job"
_INVOKER = "roles/run.invoker"
_CLOUDSQL = "run.googleapis.com/cloudsql-instances"
# container-contract: what a task is told about itself.
_OF_THE_TASK = {
    "CLOUD_RUN_JOB",
    "CLOUD_RUN_EXECUTION",
    "CLOUD_RUN_TASK_INDEX",
    "CLOUD_RUN_TASK_ATTEMPT",
    "CLOUD_RUN_TASK_COUNT",
}


@dataclass
class Attempt:
    """A task's process, or why there is none."""

    number: int
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = field(default_factory=time.monotonic)
    why_not: str = ""
    code: int | None = None
    """Its exit code, once it has ended."""

    @property
    def said(self) -> str:
        """What it wrote."""
        return self.why_not or self.log.read_text(errors="replace")


@dataclass
class Execution:
    """What was started of a job, and how far it is."""

    name: str
    job: Body
    attempts: list[Attempt] = field(default_factory=list)
    succeeded: bool | None = None

    def shown(self) -> Body:
        """As the API shows it."""
        ended = self.succeeded is not None
        state = str(self.succeeded) if ended else "Unknown"
        condition: Body = {"type": "Completed", "status": state}
        if self.succeeded is False:
            condition |= {"reason": "NonZeroExitCode", "message": self.attempts[-1].said[-200:]}
        counts = {
            "succeededCount": int(self.succeeded is True),
            "failedCount": int(self.succeeded is False),
            "runningCount": int(not ended),
            "retriedCount": max(0, len(self.attempts) - 1),
        }
        return {
            "apiVersion": "run.googleapis.com/v1",
            "kind": "Execution",
            "metadata": {
                "name": self.name,
                "namespace": self.job["metadata"]["namespace"],
                "labels": {_OF_JOB: self.job["metadata"]["name"]},
            },
            "spec": self.job["spec"]["template"]["spec"],
            "status": {"conditions": [condition], **counts},
        }


class CloudRun:
    """A running double: its jobs and executions, by name; and what tests decide about tasks.

    `surroundings` is what every task finds in its environment: where the other stand-ins are.
    `sockets` are the folders of the databases in Cloud SQL, by connection name: a task finds a
    folder where Cloud Run would mount it below /cloudsql, if its job names that database.
    """

    def __init__(self, root: Path, surroundings: Mapping[str, str]) -> None:
        self.url = ""
        self.root = root
        self.surroundings = {k: v for k, v in surroundings.items() if k != "HOME"}
        self.image = Image()
        self.jobs: dict[str, Body] = {}
        self.executions: dict[str, Execution] = {}
        self.secrets: dict[str, str] = {}
        self.sockets: dict[str, Path] = {}
        self.policies: dict[str, Body] = {}
        self.out_of_time: Callable[[Attempt, float], bool] = lambda attempt, seconds: (
            time.monotonic() - attempt.started > seconds
        )
        self._looks: dict[str, int] = {}
        self._closed = threading.Event()
        self._working: list[threading.Thread] = []

    def answer(self, method: str, path: str, content: bytes, account: str = "") -> Body:
        """Serves one request, of a service account or of the project's owner; raises Refused."""
        body: Body = json.loads(content) if content else {}
        asked = parse_qs(urlsplit(path).query)
        path = urlsplit(path).path.strip("/")
        if by_schedule := re.fullmatch(_V2, path):
            self._check_invoker(by_schedule[2], account)
            started = self._run(by_schedule[2], body, "GoogleCloudRunV2RunJobRequest", "run.v2")
            return {"name": f"projects/p/operations/{started.name}", "done": False}
        if of_policy := re.fullmatch(_POLICY, path):
            return self._of_policy(of_policy[1], of_policy[2], body)
        found = re.fullmatch(rf"{_V1}/([^/]+)/(jobs|executions)(?:/([^/:]+))?(:run)?", path)
        if found is None:
            raise Refused(404, f"{method} {path}: not found")
        project, kind, name, run = found.groups()
        if kind == "executions":
            if method == "GET" and not name:
                (selected,) = asked["labelSelector"]
                shown = [each.shown() for each in self.executions.values()]
                named = [
                    e for e in shown if f"{_OF_JOB}={e['metadata']['labels'][_OF_JOB]}" == selected
                ]
                return {"kind": "ExecutionList", "items": named}
            if method != "GET" or name not in self.executions:
                raise Refused(404, f"{method} {path}: not found")
            return self.executions[name].shown()
        if run:
            return self._run(name, body, "RunJobRequest", "run.v1").shown()
        return self._of_job(method, project, name or "", body)

    def _of_job(self, method: str, project: str, name: str, body: Body) -> Body:
        if method == "POST" and not name:
            return self._put(project, "", body)
        job = self._job(name)
        match method:
            case "PUT":
                return self._put(project, name, body)
            case "DELETE":
                del self.jobs[job["metadata"]["name"]]
                return {"status": "Success"}
            case _:
                return self._seen(name)

    def _of_policy(self, name: str, call: str, body: Body) -> Body:
        self._job(name)
        if call == "setIamPolicy":
            if wrong := faults("run.v1", "SetIamPolicyRequest", body):
                raise Refused(400, "; ".join(wrong))
            self.policies[name] = body["policy"]
        return self.policies.get(name, {"version": 1})

    def _check_invoker(self, name: str, account: str) -> None:
        """Raises Refused if a service account may not start the job."""
        bindings = self.policies.get(name, {}).get("bindings", [])
        invokers = [m for each in bindings if each["role"] == _INVOKER for m in each["members"]]
        if account and f"serviceAccount:{account}" not in invokers:
            raise Refused(403, f"Permission 'run.jobs.run' denied on resource '{name}'")

    def close(self) -> None:
        """Ends what is running."""
        self._closed.set()
        for thread in self._working:
            thread.join(60)

    # -- jobs -----------------------------------------------------------------------------------

    def _put(self, project: str, name: str, body: Body) -> Body:
        wrong = faults("run.v1", "Job", body) or _against_the_rules(project, body)
        if wrong:
            raise Refused(400, "; ".join(wrong))
        own = body["metadata"]["name"]
        if name and name != own:
            raise Refused(400, f"metadata.name: {own} is not {name}")
        if not name and own in self.jobs:
            raise Refused(409, f"Resource '{own}' already exists.")
        self.jobs[own], self._looks[own] = body, 0
        return self._seen(own)

    def _job(self, name: str) -> Body:
        if name not in self.jobs:
            raise Refused(404, f"Resource '{name}' of kind 'JOB' does not exist.")
        return self.jobs[name]

    def _seen(self, name: str) -> Body:
        """The job; it is made beside the request, and ready at the second look."""
        job = self._job(name)
        self._looks[name] += 1
        ready = "True" if self._looks[name] > 1 else "Unknown"
        return {**job, "status": {"conditions": [{"type": "Ready", "status": ready}]}}

    # -- executions -----------------------------------------------------------------------------

    def _run(self, name: str, body: Body, kind: str, api: str) -> Execution:
        job = self._job(name)
        if wrong := faults(api, kind, body):
            raise Refused(400, "; ".join(wrong))
        if self._looks[name] < 2:
            raise Refused(400, f"The job {name} is not ready.")
        started = Execution(f"{name}-{len(self.executions):05d}", _overridden(job, body))
        self.executions[started.name] = started
        self._working.append(threading.Thread(target=self._task, args=(started,)))
        self._working[-1].start()
        return started

    def _task(self, execution: Execution) -> None:
        """Attempts, one after another, until one ends well or none is left."""
        task = execution.job["spec"]["template"]["spec"]["template"]["spec"]
        # configuring/max-retries, configuring/task-timeout: the defaults
        retries, seconds = task.get("maxRetries", 3), float(task.get("timeoutSeconds", 600))
        try:
            while not self._closed.is_set() and len(execution.attempts) <= retries:
                attempt = self._attempt(execution, task["containers"][0])
                if attempt.process is not None:
                    self._watch(attempt, attempt.process, seconds)
                if attempt.code == 0:
                    break
        finally:
            execution.succeeded = bool(execution.attempts) and execution.attempts[-1].code == 0

    def _attempt(self, execution: Execution, container: Body) -> Attempt:
        number = len(execution.attempts)
        disk = self.root / f"{execution.name}-{number}"
        disk.mkdir(parents=True)
        attempt = Attempt(number, disk / "log")
        told = {
            "CLOUD_RUN_JOB": execution.job["metadata"]["name"],
            "CLOUD_RUN_EXECUTION": execution.name,
            "CLOUD_RUN_TASK_INDEX": "0",
            "CLOUD_RUN_TASK_ATTEMPT": str(number),
            "CLOUD_RUN_TASK_COUNT": "1",
        }
        try:
            environ = {**self.surroundings, **told, **self._environ(execution.job, container)}
            command, args = container.get("command", []), container.get("args", [])
            attempt.process = self.image.start(command, args, environ, disk, attempt.log)
        except NotStarted as error:
            attempt.why_not, attempt.code = str(error), 127
        execution.attempts.append(attempt)
        return attempt

    def _environ(self, job: Body, container: Body) -> dict[str, str]:
        """The variables of a task; where a mounted database lies, stands its folder."""
        found: dict[str, str] = {}
        named = job["spec"]["template"].get("metadata", {}).get("annotations", {})
        mounted = set(named.get(_CLOUDSQL, "").split(","))
        for each in container.get("env", []):
            if "valueFrom" in each:
                secret = each["valueFrom"]["secretKeyRef"]["name"]
                if secret not in self.secrets:
                    raise NotStarted(f"Secret {secret} was not found")
                value = self.secrets[secret]
                for database in mounted & self.sockets.keys():
                    value = value.replace(f"/cloudsql/{database}", str(self.sockets[database]))
                found[each["name"]] = value
            else:
                found[each["name"]] = each.get("value", "")
        return found

    def _watch(self, attempt: Attempt, process: subprocess.Popen[bytes], seconds: float) -> None:
        while process.poll() is None:
            if self._closed.is_set() or self.out_of_time(attempt, seconds):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
            self._closed.wait(0.05)
        attempt.code = process.wait()


def _overridden(job: Body, run: Body) -> Body:
    """The job of one execution: `gcloud run jobs execute --args` changes it for that one alone."""
    changed = copy.deepcopy(job)
    (container,) = changed["spec"]["template"]["spec"]["template"]["spec"]["containers"]
    for override in run.get("overrides", {}).get("containerOverrides", []):
        container |= override
    return changed


def _against_the_rules(project: str, job: Body) -> list[str]:
    """What else the API refuses."""
    named, spec = job["metadata"], job["spec"]["template"]["spec"]
    task = spec["template"]["spec"]
    (container,) = task["containers"]
    names = [each["name"] for each in container.get("env", [])]
    annotations = job["spec"]["template"].get("metadata", {}).get("annotations", {})
    instances = annotations.get(_CLOUDSQL, "a:b:c")
    rules = {
        "metadata.namespace is the project": named.get("namespace") == project,
        # create-jobs: letters, digits and hyphens, at most 63
        "metadata.name": re.fullmatch(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", named["name"]),
        "maxRetries: 0 to 10": 0 <= task.get("maxRetries", 3) <= 10,
        "timeoutSeconds: at most 168 hours": 0 < int(task.get("timeoutSeconds", 600)) <= 604_800,
        "image": container.get("image"),
        "no variable twice": len(set(names)) == len(names),
        "reserved variables": _OF_THE_TASK.isdisjoint(names),
        "a value or a secret": all(
            not {"value", "valueFrom"} <= set(e) for e in container.get("env", [])
        ),
        # configuring/execution-environments: jobs run in the second generation
        "execution-environment": annotations.get("run.googleapis.com/execution-environment", "gen2")
        == "gen2",
        # mysql/connect-run: PROJECT:REGION:INSTANCE
        "cloudsql-instances": all(each.count(":") == 2 for each in instances.split(",")),
    }
    return [f"{rule}: refused" for rule, kept in rules.items() if not kept]


@contextmanager
def cloud_run(root: Path, surroundings: Mapping[str, str]) -> Iterator[CloudRun]:
    """The double on a free port of loopback; what its tasks write lies below `root`."""
    running = CloudRun(root, surroundings)
    with answering_json(running.answer) as running.url:
        try:
            yield running
        finally:
            running.close()
