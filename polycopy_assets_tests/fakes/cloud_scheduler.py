"""Cloud Scheduler on loopback: jobs that are run on demand, and call Cloud Run's double.

Requests are held against Google's own description of the API (`cloudscheduler.v1`), and against the
rules below, named beside each of them. What it dispatches has one attempt.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from polycopy_assets_tests.fakes.answering import Refused, answering_json
from polycopy_assets_tests.fakes.cloud_run import CloudRun
from polycopy_assets_tests.google_apis import faults

Body = dict[str, Any]
_JOBS = r"v1/(projects/[^/]+/locations/[^/]+)/jobs(?:/([^/:]+)(:run)?)?"


class CloudScheduler:
    """A running double: its jobs by name, and the status of each call that they made."""

    def __init__(self, running: CloudRun) -> None:
        self.url = ""
        self.jobs: dict[str, Body] = {}
        self.calls: list[int] = []
        self._running = running

    def answer(self, method: str, path: str, content: bytes) -> Body:
        """Serves one request; raises Refused."""
        body: Body = json.loads(content) if content else {}
        found = re.fullmatch(_JOBS, urlsplit(path).path.strip("/"))
        if found is None:
            raise Refused(404, f"{method} {path}: not found")
        parent, name, run = found.groups()
        if method == "POST" and not name:
            return self._create(parent, body)
        job = self.jobs.get(f"{parent}/jobs/{name}")
        if job is None:
            raise Refused(404, f"Job {name} not found.")
        if run:
            self._dispatch(job["httpTarget"])
        elif method == "DELETE":
            del self.jobs[job["name"]]
            return {}
        return job

    def _create(self, parent: str, job: Body) -> Body:
        wrong = faults("cloudscheduler.v1", "Job", job) or _against_the_rules(parent, job)
        if wrong:
            raise Refused(400, "; ".join(wrong))
        if job["name"] in self.jobs:
            raise Refused(409, f"Job {job['name']} already exists.")
        self.jobs[job["name"]] = job
        return job

    def _dispatch(self, target: Body) -> None:
        address = urlsplit(target["uri"])
        account = target["oauthToken"]["serviceAccountEmail"]
        try:
            self._running.answer(target["httpMethod"], address.path, b"", account)
            self.calls.append(200)
        except Refused as refused:
            self.calls.append(refused.status)


def _against_the_rules(parent: str, job: Body) -> list[str]:
    """What else the API refuses (reference/rest/v1/projects.locations.jobs)."""
    target = job["httpTarget"]
    address = urlsplit(target["uri"])
    seconds = float(job.get("attemptDeadline", "180s").removesuffix("s"))
    rules = {
        "name": re.fullmatch(rf"{parent}/jobs/[A-Za-z0-9_-]{{1,500}}", job["name"]),
        "schedule": len(job["schedule"].split()) == 5,
        # an OAuth token is sent to *.googleapis.com alone
        "oauthToken": "oauthToken" in target
        and address.scheme == "https"
        and (address.hostname or "").endswith(".googleapis.com"),
        "attemptDeadline: 15 seconds to 30 minutes": 15 <= seconds <= 1_800,
        "retryCount: 0 to 5": 0 <= job.get("retryConfig", {}).get("retryCount", 0) <= 5,
    }
    return [f"{rule}: refused" for rule, kept in rules.items() if not kept]


@contextmanager
def cloud_scheduler(running: CloudRun) -> Iterator[CloudScheduler]:
    """The double on a free port of loopback."""
    scheduler = CloudScheduler(running)
    with answering_json(scheduler.answer) as scheduler.url:
        yield scheduler
