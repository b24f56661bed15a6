"""The double's REST interface: what it answers to a request."""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from polycopy_assets_tests.fakes.bigquery.engine import Engine
from polycopy_assets_tests.fakes.bigquery.model import Job, JobError, Name, Table, micros
from polycopy_assets_tests.fakes.bigquery.pages import page
from polycopy_assets_tests.fakes.bigquery.script import Script
from polycopy_assets_tests.fakes.bigquery.statement import Statement
from polycopy_assets_tests.fakes.bigquery.streaming import stream

RUNNING_DML = 2
PENDING_DML = 20
# https://cloud.google.com/bigquery/quotas#standard_tables, and #partitioned_tables: changes of a
# table's metadata in 10 seconds.
UPDATES, PARTITIONED_UPDATES, UPDATES_WITHIN = 5, 50, 10.0
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
Body = dict[str, Any]


class Double:
    """A running double: what it holds, what it did, and what tests may do to it."""

    def __init__(self, storage_url: str | None) -> None:
        self.url = ""
        self.engine = Engine(storage_url)
        self.jobs: list[Job] = []
        self.requests: list[tuple[str, str]] = []
        self.delay = 0.0
        self.most_dml_at_once = 0
        self.before: Callable[[Job, str], None] = lambda job, sql: None
        """Called before each statement of a transaction, with its SQL; may wait, or raise."""
        self._by_id: dict[tuple[str, str, str], Job] = {}
        self._dml: dict[Name, list[Job]] = {}
        self._dml_changed = threading.Condition()
        self._errors: list[tuple[Callable[[Job], bool], JobError]] = []
        self._holds: list[tuple[Callable[[Job], bool], threading.Event]] = []
        self._lost_looks = 0
        self._forgotten: set[str] = set()

    # -- for tests ------------------------------------------------------------------------------

    def create_dataset(self, project: str, dataset: str, location: str = "EU") -> None:
        """Makes a dataset."""
        self.engine.datasets[project, dataset] = location

    def job_error(self, matches: Callable[[Job], bool], reason: str, message: str) -> None:
        """The next job that matches ends in this error, with nothing done."""
        self._errors.append((matches, JobError(reason, message)))

    def hold(self, matches: Callable[[Job], bool]) -> threading.Event:
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
            if not key or not _LABEL.fullmatch(key) or not _LABEL.fullmatch(value):
                raise JobError("invalid", f"Label {key}={value!r} is not allowed")
        job = Job(job_id, kind, project, "", config)
        statements: list[Statement] = []
        if kind == "query":
            statements = self.engine.parse(job)
            if config.get("dryRun"):
                with self.engine.lock:
                    job.bytes_processed = sum(each.bytes() for each in statements)
                job.state = "DONE"
                return self.resource(job)
        job.location = reference.get("location") or self._location(job, statements)
        key = (project, job.location, job_id)
        with self.engine.lock:
            if key in self._by_id:
                raise JobError(
                    "duplicate", f"Already Exists: Job {project}:{job.location}.{job_id}"
                )
            self._by_id[key] = job
            self.jobs.append(job)
        threading.Thread(target=self._run, args=(job, statements), daemon=True).start()
        return self.resource(job)

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

    def resource(self, job: Job) -> Body:
        """A job as the interface shows it."""
        status: Body = {"state": job.state}
        if job.state == "DONE" and job.error is not None:
            status["errorResult"] = {"reason": job.error.reason, "message": job.error.message}
            status["errors"] = [status["errorResult"]]
        query: Body = {
            "totalBytesProcessed": str(job.bytes_processed),
            "totalBytesBilled": str(job.bytes_billed),
            "totalSlotMs": str(0 if job.cache_hit else 7),
            "cacheHit": job.cache_hit,
            "statementType": "SCRIPT" if job.children else "MERGE" if job.dml else "SELECT",
        }
        if job.dml:
            query["numDmlAffectedRows"] = str(job.inserted + job.deleted)
            query["dmlStats"] = {
                "insertedRowCount": str(job.inserted),
                "deletedRowCount": str(job.deleted),
                "updatedRowCount": "0",
            }
        created = str(int(job.created * 1000))
        statistics: Body = {"creationTime": created, "startTime": created}
        if job.kind == "load":
            statistics["load"] = {"outputRows": str(job.output_rows)}
        else:
            statistics["query"] = query
            statistics["totalBytesProcessed"] = query["totalBytesProcessed"]
            statistics["totalSlotMs"] = query["totalSlotMs"]
        return {
            "kind": "bigquery#job",
            "id": f"{job.project}:{job.location}.{job.id}",
            "jobReference": {"projectId": job.project, "jobId": job.id, "location": job.location},
            "configuration": job.configuration,
            "status": status,
            "statistics": statistics,
        }

    def results(self, job: Job, parameters: Mapping[str, str]) -> Body:
        """A page of a query's rows, or that it is not done."""
        reference = self.resource(job)["jobReference"]
        if not job.ended.wait(float(parameters.get("timeoutMs", 10_000)) / 1000):
            return {"jobReference": reference, "jobComplete": False}
        if job.error is not None:
            raise job.error
        body: Body = {
            "jobReference": reference,
            "jobComplete": True,
            "schema": {"fields": job.schema},
            "cacheHit": job.cache_hit,
            "totalBytesProcessed": str(job.bytes_processed),
            **page(job.rows, parameters, 50_000),
        }
        if job.dml:
            body["numDmlAffectedRows"] = str(job.inserted + job.deleted)
        return body

    # -- tables ---------------------------------------------------------------------------------

    def table_resource(self, table: Table) -> Body:
        """A table as the interface shows it."""
        project, dataset, name = table.name
        body: Body = {
            "kind": "bigquery#table",
            "etag": table.version,
            "id": f"{project}:{dataset}.{name}",
            "tableReference": {"projectId": project, "datasetId": dataset, "tableId": name},
            "schema": {"fields": table.schema},
            "type": table.kind,
            "location": table.location,
            "numRows": str(self.engine.rows(table) if table.lagging is None else table.lagging),
            "labels": dict(table.labels),
        }
        if table.partition:
            body["timePartitioning"] = {"type": table.unit, "field": table.partition}
            if table.partitions_last:
                last = table.partitions_last // timedelta(milliseconds=1)
                body["timePartitioning"]["expirationMs"] = str(last)
        if table.filtered:
            body["requirePartitionFilter"] = True
        if table.clustering:
            body["clustering"] = {"fields": table.clustering}
        if table.expires:
            body["expirationTime"] = str(micros(table.expires) // 1000)
        return body

    def create_table(self, project: str, dataset: str, body: Body) -> Body:
        """Makes a table, if there is none of that name."""
        name = (project, dataset, body["tableReference"]["tableId"])
        location = self.engine.datasets.get((project, dataset))
        if location is None:
            raise JobError("notFound", f"Not found: Dataset {project}:{dataset}")
        if self.engine.table(name) is not None:
            raise JobError("duplicate", f"Already Exists: Table {project}:{dataset}.{name[2]}")
        expires = body.get("expirationTime")
        parts = body.get("timePartitioning") or {}
        last = parts.get("expirationMs")
        table = Table(
            name,
            body.get("schema", {}).get("fields", []),
            location,
            partition=parts.get("field"),
            unit=parts.get("type", "MONTH"),
            partitions_last=timedelta(milliseconds=int(last)) if last else None,
            filtered=bool(body.get("requirePartitionFilter")),
            clustering=(body.get("clustering") or {}).get("fields", []),
            labels=body.get("labels") or {},
            expires=datetime.fromtimestamp(int(expires) / 1000, UTC) if expires else None,
        )
        self.engine.create(table)
        return self.table_resource(table)

    def find_table(self, project: str, dataset: str, name: str) -> Table:
        """The table; raises JobError if there is none."""
        table = self.engine.table((project, dataset, name))
        if table is None:
            raise JobError("notFound", f"Not found: Table {project}:{dataset}.{name}")
        return table

    def patch_table(self, table: Table, body: Body, etag: str | None) -> Body:
        """Changes a table's columns or labels, if it is still as its writer saw it."""
        if etag is not None and etag != table.version:
            raise JobError("conditionNotMet", "Precondition Failed: the etag is stale")
        now = time.monotonic()
        table.updates = [each for each in table.updates if now - each < UPDATES_WITHIN]
        if len(table.updates) >= (PARTITIONED_UPDATES if table.partition else UPDATES):
            raise JobError(
                "rateLimitExceeded",
                "Exceeded rate limits: too many table update operations for this table",
            )
        table.updates.append(now)
        if "schema" in body:
            self.engine.widen(table, body["schema"]["fields"])
        for key, value in (body.get("labels") or {}).items():
            if value is None:
                table.labels.pop(key, None)
            elif not _LABEL.fullmatch(key) or not _LABEL.fullmatch(value):
                raise JobError("invalid", f"Label {key}={value!r} is not allowed")
            else:
                table.labels[key] = value
        table.touch()
        return self.table_resource(table)

    def listed(self, table: Table, parameters: Mapping[str, str]) -> Body:
        """A page of a table's rows, without a job (`tabledata.list`)."""
        return page(self.engine.all_rows(table), parameters, 100_000)

    # -- requests -------------------------------------------------------------------------------

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: Body) -> Body | None:
        """Serves one request; raises JobError for what BigQuery answers with an error."""
        parts = urlsplit(path)
        parameters = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        steps = [unquote(step) for step in parts.path.removeprefix("/bigquery/v2/").split("/")]
        match (method, *steps):
            case ("POST", "projects", project, "jobs"):
                return self.insert(project, body)
            case ("GET", "projects", project, "jobs", job_id):
                return self.resource(self.look(project, job_id, parameters.get("location")))
            case ("GET", "projects", project, "queries", job_id):
                job = self.look(project, job_id, parameters.get("location"))
                return self.results(job, parameters)
            case ("POST", "projects", project, "datasets"):
                self.create_dataset(
                    project, body["datasetReference"]["datasetId"], body.get("location", "US")
                )
                return body
            case (
                _,
                "projects",
                project,
                "datasets",
                dataset,
                "tables",
                name,
                "data" | "insertAll",
            ):
                with self.engine.lock:
                    table = self.find_table(project, dataset, name)
                    reads = steps[-1] == "data"
                    return (
                        self.listed(table, parameters)
                        if reads
                        else stream(self.engine, table, body)
                    )
            case _:
                with self.engine.lock:
                    return self._metadata(method, steps, headers, body)

    def _metadata(
        self, method: str, steps: list[str], headers: Mapping[str, str], body: Body
    ) -> Body | None:
        match (method, *steps):
            case ("GET" | "PATCH", "projects", project, "datasets", dataset):
                location = self.engine.datasets.get((project, dataset))
                if location is None:
                    raise JobError("notFound", f"Not found: Dataset {project}:{dataset}")
                if method == "PATCH":
                    self.engine.defaults[project, dataset] = body
                return {
                    "datasetReference": {"projectId": project, "datasetId": dataset},
                    "location": location,
                    **self.engine.defaults.get((project, dataset), {}),
                }
            case ("GET", "projects", project, "datasets", dataset, "tables"):
                tables = [t for t in self.engine.tables if t[:2] == (project, dataset)]
                return {"tables": [self.table_resource(self.find_table(*t)) for t in tables]}
            case ("POST", "projects", project, "datasets", dataset, "tables"):
                return self.create_table(project, dataset, body)
            case ("GET", "projects", project, "datasets", dataset, "tables", name):
                return self.table_resource(self.find_table(project, dataset, name))
            case ("PATCH", "projects", project, "datasets", dataset, "tables", name):
                table = self.find_table(project, dataset, name)
                return self.patch_table(table, body, headers.get("If-Match"))
            case ("DELETE", "projects", project, "datasets", dataset, "tables", name):
                self.engine.drop(self.find_table(project, dataset, name).name)
                return None
            case _:
                raise JobError("invalid", f"the double does not serve {method} {'/'.join(steps)}")
