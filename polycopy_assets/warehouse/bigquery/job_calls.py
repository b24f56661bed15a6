"""BigQuery jobs: each is started once under a fixed id, found again, awaited, and accounted for.

The id makes a job safe to start twice: a second start with the same id is refused with a 409,
whether the first answer was lost, another process was faster, or an earlier run was killed. After a
409 the state of that job is read.
"""

import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import requests
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery import DEFAULT_RETRY

from polycopy_assets.errors import QuotaExceeded, WarehouseError
from polycopy_assets.system.google_quota import explain
from polycopy_assets.text import MESSAGE, said_by
from polycopy_assets.warehouse.base import Cost

PATIENCE_SECONDS = 600.0
LOST_SECONDS = 120.0
TIMEOUT = 120.0
ATTEMPTS = 3
CALL_LABEL = "polycopy_call"
_TRANSIENT = frozenset(
    {
        *("backendError", "internalError", "jobBackendError", "jobInternalError"),
        *("tableUnavailable", "rateLimitExceeded", "jobRateLimitExceeded"),
    }
)
"""Why a job failed that may succeed in some seconds. A rate is that, a quota (of a day) is not."""

Parameter = bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter
Job = TypeVar("Job", bigquery.LoadJob, bigquery.QueryJob)
Begin = Callable[[str, Mapping[str, str]], Job]
"""Starts a job under the given id with the given labels; raises Conflict if the id is taken."""


class Jobs:
    """Jobs of one project in one location, with a cap on what a query may bill.

    A request is retried on transport errors and 5xx for at most `patience` seconds; a job is
    waited for until it is final, which BigQuery bounds to six hours.
    """

    def __init__(
        self,
        client: bigquery.Client,
        location: str | None,
        *,
        labels: Mapping[str, str],
        max_bytes_billed: int,
        patience: float = PATIENCE_SECONDS,
        lost_after: float = LOST_SECONDS,
    ) -> None:
        self._client = client
        self._location = location
        self._labels = dict(labels)
        self.cap = max_bytes_billed
        retry: Retry = DEFAULT_RETRY.with_timeout(patience)
        self.request: dict[str, Any] = {"retry": retry, "timeout": TIMEOUT}
        self._lost_after = lost_after
        self._seen: set[str] = set()
        self.cost = Cost()

    def query(self, sql: str, parameters: Sequence[Parameter] = ()) -> bigquery.QueryJob:
        """Runs a read-only or idempotent statement, and waits for its end."""
        unique = f"polycopy_query_{uuid.uuid4().hex}"

        def begin(job_id: str, labels: Mapping[str, str]) -> bigquery.QueryJob:
            return self.begin_query(sql, parameters, job_id, labels)

        return self.run(bigquery.QueryJob, unique, begin, accept=lambda _: True)

    def begin_query(
        self, sql: str, parameters: Sequence[Parameter], job_id: str, labels: Mapping[str, str]
    ) -> bigquery.QueryJob:
        """Starts a query job; for `run`."""
        return self._client.query(
            sql,
            job_id=job_id,
            location=self._location,
            **self.request,
            job_retry=None,
            job_config=bigquery.QueryJobConfig(
                query_parameters=list(parameters),
                maximum_bytes_billed=self.cap,
                labels={**self._labels, **labels},
            ),
        )

    def begin_load(
        self,
        uris: Sequence[str],
        table: bigquery.Table,
        job_id: str,
        labels: Mapping[str, str],
    ) -> bigquery.LoadJob:
        """Starts a load job that replaces what `table` holds by Parquet files; for `run`."""
        return self._client.load_table_from_uri(
            list(uris),
            table.reference,
            job_id=job_id,
            location=self._location,
            **self.request,
            job_config=bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.PARQUET,
                schema=table.schema,
                create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
                write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
                labels={**self._labels, **labels},
            ),
        )

    def estimate(self, sql: str, parameters: Sequence[Parameter]) -> int:
        """Bytes that a query would process, by a dry run, which costs nothing."""
        with failing("a dry run"):
            job = self._client.query(
                sql,
                location=self._location,
                **self.request,
                job_retry=None,
                job_config=bigquery.QueryJobConfig(
                    query_parameters=list(parameters), dry_run=True, labels=self._labels
                ),
            )
        return int(job.total_bytes_processed or 0)

    def run(
        self, kind: type[Job], name: str, begin: Begin[Job], accept: Callable[[Job], bool]
    ) -> Job:
        """A job that succeeded, under one of the ids `name_0`, `name_1` and so on.

        If an id is taken: a running job is awaited; a job that succeeded counts if `accept` says
        that its effect is still there (or if it is our own, and its answer was lost); after a
        failed job, the next id is tried. If our own job fails for a transient reason, it is started
        again under the next id, a few times.
        """
        call = uuid.uuid4().hex
        failures = 0
        for number in itertools.count():
            job_id = f"{name}_{number}"
            try:
                with failing(f"cannot start job {job_id}", keep=exceptions.Conflict):
                    job = begin(job_id, {CALL_LABEL: call})
            except exceptions.Conflict:
                job = self._look(kind, job_id)
                own = (job.labels or {}).get(CALL_LABEL) == call
                if job.state == "DONE" and not own and (job.error_result or not accept(job)):
                    continue
            error = self._wait(job)
            self._account(job)
            if error is None:
                return job
            failures += 1
            if reason_of(error) not in _TRANSIENT or failures == ATTEMPTS:
                raise translated(f"job {job_id} failed", error) from error
            self.pause(failures)
        raise AssertionError("unreachable")

    def pause(self, failures: int) -> None:
        """Waits before the next attempt, longer after each of so many failures."""
        time.sleep(min(2.0**failures, self._lost_after))

    def rows(self, job: bigquery.QueryJob) -> Iterator[bigquery.Row]:
        """The rows of a query that has ended, page by page."""
        with failing(f"cannot read the rows of job {job.job_id}"):
            yield from job.result(**self.request, job_retry=None)

    def _look(self, kind: type[Job], job_id: str) -> Job:
        """The job with that id, which BigQuery says exists: a 404 is retried, then an error."""
        deadline = time.monotonic() + self._lost_after
        while True:
            with failing(f"cannot read job {job_id}", keep=exceptions.NotFound):
                try:
                    job = self._client.get_job(job_id, location=self._location, **self.request)
                except exceptions.NotFound as error:
                    self._patient(job_id, deadline, error)
                    continue
            if not isinstance(job, kind):
                raise WarehouseError(f"job {job_id} is a {type(job).__name__}, not one of ours")
            return job

    def _wait(
        self, job: bigquery.LoadJob | bigquery.QueryJob
    ) -> exceptions.GoogleAPICallError | None:
        """Waits until the job is final; returns the error that it ended in, if any.

        If the job's state cannot be read, raises WarehouseError: its result is unknown.
        """
        deadline = None
        pause = 0.05
        while job.state != "DONE":
            with failing(f"lost contact with job {job.job_id}", keep=exceptions.NotFound):
                try:
                    job.reload(**self.request)
                    deadline = None
                except exceptions.NotFound as error:
                    deadline = deadline or time.monotonic() + self._lost_after
                    self._patient(str(job.job_id), deadline, error)
                    continue
            if job.state != "DONE":
                time.sleep(pause)
                pause = min(pause * 1.5, 10.0)
        if job.error_result is None:
            return None
        return exceptions.from_http_status(
            _STATUS.get(str(job.error_result.get("reason")), 400),
            str(job.error_result.get("message")),
            errors=[job.error_result],
        )

    def _patient(self, job_id: str, deadline: float, error: Exception) -> None:
        if time.monotonic() >= deadline:
            raise WarehouseError(
                f"BigQuery says that job {job_id} exists, but cannot find it; its result is"
                " unknown: start this again"
            ) from error
        time.sleep(min(1.0, self._lost_after / 10))

    def _account(self, job: bigquery.LoadJob | bigquery.QueryJob) -> None:
        if job.job_id in self._seen:
            return
        self._seen.add(str(job.job_id))
        before = self.cost
        if isinstance(job, bigquery.LoadJob):
            self.cost = before._replace(load_jobs=before.load_jobs + 1)
            return
        self.cost = before._replace(
            query_jobs=before.query_jobs + 1,
            bytes_billed=before.bytes_billed + int(job.total_bytes_billed or 0),
            slot_ms=before.slot_ms + int(job.slot_millis or 0),
        )


_STATUS = {"quotaExceeded": 403, "rateLimitExceeded": 403, "accessDenied": 403, "notFound": 404}
_FAILURES = (exceptions.GoogleAPIError, GoogleAuthError, requests.RequestException)


@contextmanager
def failing(what: str, keep: type[BaseException] | None = None) -> Iterator[None]:
    """Turns Google's exceptions into ours, except those of the kind `keep`."""
    try:
        yield
    except _FAILURES as error:
        if keep is not None and isinstance(error, keep):
            raise
        raise translated(what, error) from error


def translated(what: str, error: BaseException) -> WarehouseError:
    """Our error for one of Google's: one line, with the quota if it is about one."""
    if isinstance(error, exceptions.RetryError) and error.cause is not None:
        return translated(f"{what}, all retries failed", error.cause)
    reason, message = reason_of(error), _message(error)
    if reason == "bytesBilledLimitExceeded":
        return WarehouseError(
            f"{what}: {message} (the cap is POLYCOPY_MAX_BYTES_BILLED; nothing was billed)"
        )
    if "streaming buffer" in message:
        return WarehouseError(
            f"{what}: {message} (rows that were streamed cannot be changed for up to 90 minutes:"
            " wait, and do it again)"
        )
    used_up = explain(reason, message)
    if used_up is not None:
        return QuotaExceeded(f"{what}: {used_up}. Google says: {message}")
    return WarehouseError(f"{what}: {message}")


def reason_of(error: BaseException) -> str:
    """BigQuery's own word for what went wrong, e.g. `quotaExceeded`; empty if it gave none."""
    errors: Any = getattr(error, "errors", None) or [{}]
    return str(errors[0].get("reason", "")) if isinstance(errors[0], dict) else ""


def _message(error: BaseException) -> str:
    if isinstance(error, exceptions.GoogleAPICallError):
        text = f"{error.code} {error.message}"
    else:
        text = f"{type(error).__name__}: {error}"
    return said_by(text, MESSAGE)
