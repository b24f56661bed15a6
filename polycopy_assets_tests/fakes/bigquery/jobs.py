"""Jobs of the double: each id is used once, DML on a table queues, and tests make jobs fail."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from polycopy_assets_tests.fakes.bigquery.engine import Engine
from polycopy_assets_tests.fakes.bigquery.model import LABEL, Job, JobError, Name
from polycopy_assets_tests.fakes.bigquery.script import Script
from polycopy_assets_tests.fakes.bigquery.shown import job_resource
from polycopy_assets_tests.fakes.bigquery.statement import Statement

# https://cloud.google.com/bigquery/docs/data-manipulation-language: UPDATE, DELETE and MERGE on one
# table; INSERT is not counted.
RUNNING_DML = 2
PENDING_DML = 20
Body = dict[str, Any]
Matches = Callable[[Job], bool]


class Jobs:
    """The jobs of a double, and what tests may do to them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.jobs: list[Job] = []
        self.delay = 0.0
        self.most_dml_at_once = 0
        self.before: Callable[[Job, str], None] = lambda job, sql: None
        """Called before each statement of a transaction, with its SQL; may wait, or raise."""
        self._by_id: dict[tuple[str, str, str], Job] = {}
        self._dml: dict[Name, list[Job]] = {}
        self._dml_changed = threading.Condition()
        self._errors: list[tuple[Matches, JobError]] = []
        self._holds: list[tuple[Matches, threading.Event]] = []
        self.vanishing: list[tuple[Matches, bool, bool]] = []
        """Jobs to come that vanish; see `vanish`."""
        self._lost_looks = 0
        self._forgotten: set[str] = set()

    # -- for tests ------------------------------------------------------------------------------

    def job_error(self, matches: Matches, reason: str, message: str) -> None:
        """The next job that matches ends in this error, with nothing done."""
        self._errors.append((matches, JobError(reason, message)))

    def hold(self, matches: Matches) -> threading.Event:
        """Jobs that match stay RUNNING, with nothing done, until the event is set."""
        event = threading.Event()
        self._holds.append((matches, event))
        return event

    def lose_looks(self, number: int) -> None:
        """The next looks at a job answer 404."""
        self._lost_looks = number

    def forget(self, job_id: str) -> None:
        """All looks at this job answer 404 from now on, though its id is taken."""
        self._forgotten.add(job_id)

    def vanish(self, matches: Matches, *, ran: bool, answered: bool = True) -> None:
        """The next job that matches is accepted, and then all looks at it answer 404.

        `ran` tells whether it does its work all the same, `answered` whether its start is answered
        with success; if not, it seems to have failed in passing. That jobs vanish is not
        documented. What is (https://cloud.google.com/bigquery/docs/error-messages): `duplicate` for
        an id that is taken, and `backendError` for a request that may have been done.
        """
        self.vanishing.append((matches, ran, answered))

    def done(self, kind: str) -> list[Job]:
        """The jobs of a kind, `load` or `query`, dry runs left out."""
        return [job for job in self.jobs if job.kind == kind]

    # -- jobs -----------------------------------------------------------------------------------

    def insert(self, project: str, body: Body) -> Body:
        """Starts a job, if its id is new."""
        config = body["configuration"]
        reference = body.get("jobReference", {})
        job_id = reference.get("jobId") or f"job_{uuid.uuid4().hex}"
        kind = "load" if "load" in config else "query"
        for key, value in config.get("labels", {}).items():
            if not key or not LABEL.fullmatch(key) or not LABEL.fullmatch(value):
                raise JobError("invalid", f"Label {key}={value!r} is not allowed")
        job = Job(job_id, kind, project, "", config)
        statements: list[Statement] = []
        if kind == "query":
            statements = self.engine.parse(job)
            kinds = [statement.kind for statement in statements]
            job.statement_type = kinds[0] if len(kinds) == 1 else "SCRIPT"
            if key := config["query"].get("destinationEncryptionConfiguration"):
                self.engine.usable_key(key)
                if len(statements) > 1 or statements[0].mutates:
                    raise JobError("invalid", "a key is for results, and this has none")
            if config.get("dryRun"):
                with self.engine.lock:
                    job.bytes_processed = sum(each.bytes() for each in statements)
                job.state = "DONE"
                return job_resource(job)
        job.location = reference.get("location") or self._location(job, statements)
        key = (project, job.location, job_id)
        with self.engine.lock:
            if key in self._by_id:
                raise JobError(
                    "duplicate", f"Already Exists: Job {project}:{job.location}.{job_id}"
                )
            self._by_id[key] = job
            self.jobs.append(job)
            runs, answered = self._fate(job)
        if runs:
            threading.Thread(target=self._run, args=(job, statements), daemon=True).start()
        if not answered:
            raise JobError("backendError", "Error encountered during execution. Try again.")
        return job_resource(job)

    def _fate(self, job: Job) -> tuple[bool, bool]:
        """Whether a new job does its work, and whether its start is answered; see `vanish`."""
        for item in self.vanishing:
            matches, runs, answered = item
            if matches(job):
                self.vanishing.remove(item)
                self._forgotten.add(job.id)
                return runs, answered
        return True, True

    def _location(self, job: Job, statements: Sequence[Statement]) -> str:
        if job.kind == "load":
            target = job.configuration["load"]["destinationTable"]
            return self.engine.datasets.get((target["projectId"], target["datasetId"]), "US")
        tables = [table for each in statements for table in each.tables()]
        return tables[0].location if tables else "US"

    def _run(self, job: Job, statements: Sequence[Statement]) -> None:
        started = time.monotonic()
        statement = statements[0] if len(statements) == 1 else None
        try:
            with self._turn(job, statement):
                for matches, event in list(self._holds):
                    if matches(job):
                        event.wait(60)
                time.sleep(self.delay)
                self._raise_injected(job)
                if statement is not None:
                    self.engine.query(job, statement)
                elif statements:
                    Script(self.engine, statements, self.before).run(job)
                else:
                    self.engine.load(job)
        except JobError as error:
            job.error = error
        except Exception as error:  # noqa: BLE001  a defect of the double is an answer too
            job.error = JobError("internalError", f"the double failed: {error!r}")
        job.span = (started, time.monotonic())
        job.state = "DONE"
        job.ended.set()

    def _raise_injected(self, job: Job) -> None:
        for item in list(self._errors):
            if item[0](job):
                self._errors.remove(item)
                raise item[1]

    @contextmanager
    def _turn(self, job: Job, statement: Statement | None) -> Iterator[None]:
        """Waits until fewer than two others change the same table; refuses when too many wait."""
        if statement is None or not statement.mutates or statement.target is None:
            job.state = "RUNNING"
            yield
            return
        name = statement.target.name
        with self._dml_changed:
            queue = self._dml.setdefault(name, [])
            if len(queue) >= RUNNING_DML + PENDING_DML:
                raise JobError(
                    "quotaExceeded",
                    "Resources exceeded during query execution: Too many DML statements"
                    f" outstanding against table {':'.join(name)}, limit is {PENDING_DML}.",
                )
            queue.append(job)
            self._dml_changed.wait_for(lambda: job in queue[:RUNNING_DML])
            job.state = "RUNNING"
            running = sum(each.state == "RUNNING" for each in queue)
            self.most_dml_at_once = max(self.most_dml_at_once, running)
        try:
            yield
        finally:
            with self._dml_changed:
                queue.remove(job)
                self._dml_changed.notify_all()

    def look(self, project: str, job_id: str, location: str | None) -> Job:
        """The job of that id and place."""
        with self.engine.lock:
            if self._lost_looks:
                self._lost_looks -= 1
                raise JobError("notFound", f"Not found: Job {project}:{job_id}")
            for (owner, where, name), job in self._by_id.items():
                if (owner, name) == (project, job_id) and where == (location or where):
                    if job_id in self._forgotten:
                        break
                    return job
        raise JobError("notFound", f"Not found: Job {project}:{location}.{job_id}")
