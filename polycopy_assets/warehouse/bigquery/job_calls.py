"""BigQuery jobs: each is started once under a fixed id, found again, awaited, and accounted for.

The id makes a job safe to start twice: a second start with the same id is refused with a 409,
whether the first answer was lost, another process was faster, or an earlier run was killed. After a
409 the state of that job is read.
"""

import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from google.api_core import exceptions
from google.api_core.retry import Retry
from google.cloud import bigquery
from google.cloud.bigquery import DEFAULT_RETRY

from polycopy_assets.errors import WarehouseError
from polycopy_assets.warehouse.bigquery.failing import failing, reason_of, translated
from polycopy_assets.warehouse.bigquery.job_states import Job, JobStates, Patience
from polycopy_assets.warehouse.feed_table import Cost

PATIENCE_SECONDS = 600.0
LOST_SECONDS = 120.0
TIMEOUT = 120.0
ATTEMPTS = 3
PAGE_ROWS = 20_000
CALL_LABEL = "polycopy_call"
_LOG = logging.getLogger(__name__)
_TRANSIENT = frozenset(
    {
        *("backendError", "internalError", "jobBackendError", "jobInternalError"),
        *("tableUnavailable", "rateLimitExceeded", "jobRateLimitExceeded"),
    }
)
"""Why a job failed that may succeed in some seconds. A rate is that, a quota (of a day) is not."""

Parameter = bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter
Begin = Callable[[str, Mapping[str, str]], Job]
"""Starts a job under the given id with the given labels; raises Conflict if the id is taken."""


class Jobs:
    """Jobs of one project in one location, with a cap on what a query may bill.

    A request is retried on transport errors and 5xx for at most `patience` seconds; a job is
    waited for until it is final, which BigQuery bounds to six hours. `key` is the key of Cloud KMS
    for the results of queries, which lie in a table of Google's for a day; None is Google's own.
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
        key: bigquery.EncryptionConfiguration | None = None,
    ) -> None:
        self._client = client
        self._key = key
        self._location = location
        self._labels = dict(labels)
        self.cap = max_bytes_billed
        retry: Retry = DEFAULT_RETRY.with_timeout(patience)
        self.request: dict[str, Any] = {"retry": retry, "timeout": TIMEOUT}
        self._lost_after = lost_after
        self._states = JobStates(client, location, self.request)
        self._seen: set[str] = set()
        self.cost = Cost()

    def query(
        self,
        sql: str,
        parameters: Sequence[Parameter] = (),
        *,
        reads: bool = False,
        within: bigquery.DatasetReference | None = None,
    ) -> bigquery.QueryJob:
        """Runs an idempotent statement, and waits for its end; if it only `reads`, with our key.

        Names of tables without a dataset are those of `within`.
        """
        unique = f"polycopy_query_{uuid.uuid4().hex}"

        def begin(job_id: str, labels: Mapping[str, str]) -> bigquery.QueryJob:
            key = self._key if reads else None
            return self.begin_query(sql, parameters, job_id, labels, key=key, within=within)

        return self.run(bigquery.QueryJob, unique, begin, accept=lambda _: True)

    def begin_query(
        self,
        sql: str,
        parameters: Sequence[Parameter],
        job_id: str,
        labels: Mapping[str, str],
        *,
        key: bigquery.EncryptionConfiguration | None = None,
        within: bigquery.DatasetReference | None = None,
    ) -> bigquery.QueryJob:
        """Starts a query job; for `run`. With `key`, its results are encrypted with that."""
        config = _config(parameters, {**self._labels, **labels}, within)
        config.maximum_bytes_billed = self.cap
        if key is not None:  # a change has no results, and must not name a key for them
            config.destination_encryption_configuration = key
        return self._client.query(
            sql,
            job_id=job_id,
            location=self._location,
            **self.request,
            job_retry=None,
            job_config=config,
        )

    def begin_load(
        self,
        uris: Sequence[str],
        table: bigquery.Table,
        job_id: str,
        labels: Mapping[str, str],
    ) -> bigquery.LoadJob:
        """Starts a load job that replaces what `table` holds by Parquet files; for `run`.

        It names the key of `table`: whether a truncated table keeps its own is not documented.
        """
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=table.schema,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            labels={**self._labels, **labels},
        )
        if table.encryption_configuration is not None:
            config.destination_encryption_configuration = table.encryption_configuration
        return self._client.load_table_from_uri(
            list(uris),
            table.reference,
            job_id=job_id,
            location=self._location,
            **self.request,
            job_config=config,
        )

    def estimate(self, sql: str, parameters: Sequence[Parameter]) -> int:
        """Bytes that a query would process, by a dry run."""
        return int(self.dry_run(sql, parameters).total_bytes_processed or 0)

    def dry_run(
        self,
        sql: str,
        parameters: Sequence[Parameter],
        what: str = "a dry run",
        within: bigquery.DatasetReference | None = None,
    ) -> bigquery.QueryJob:
        """A statement that is checked and not run, which costs nothing; `what` is for its error."""
        config = _config(parameters, self._labels, within)
        config.dry_run = True
        with failing(what):
            return self._client.query(
                sql, location=self._location, **self.request, job_retry=None, job_config=config
            )

    def run(
        self, kind: type[Job], name: str, begin: Begin[Job], accept: Callable[[Job], bool]
    ) -> Job:
        """A job that succeeded, under one of the ids `name_0`, `name_1` and so on.

        If an id is taken: a running job is awaited; a job that succeeded counts if `accept` says
        that its effect is still there (or if it is our own, and its answer was lost); after a
        failed job, or one that cannot be found, the next id is tried. If our own job fails for a
        transient reason, or cannot be found, it is started again under the next id, a few times.
        The first of them may still do its work: what is run here must be safe to do twice.
        """
        call = uuid.uuid4().hex
        failures = 0
        patience = Patience(self._lost_after)
        for number in itertools.count():
            job_id = f"{name}_{number}"
            try:
                with failing(f"cannot start job {job_id}", keep=exceptions.Conflict):
                    job = begin(job_id, {CALL_LABEL: call})
            except exceptions.Conflict:
                taken = self._states.find(kind, job_id, patience)
                if taken is None:
                    continue
                job = taken
                own = (job.labels or {}).get(CALL_LABEL) == call
                if job.state == "DONE" and not own and (job.error_result or not accept(job)):
                    continue
            try:
                error = self._states.wait(job, patience)
            except exceptions.NotFound as lost:
                failures += 1
                if failures == ATTEMPTS:
                    raise WarehouseError(
                        f"BigQuery took job {job_id} and cannot find it, nor {ATTEMPTS - 1} before"
                        " it: what became of them is unknown, and nothing is assumed. Start this"
                        " again, it starts new jobs"
                    ) from lost
                _LOG.warning("BigQuery took job %s and cannot find it: another is started", job_id)
                continue
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
        patience = Patience(self._lost_after)
        seen = False
        while True:
            with failing(f"cannot read the rows of job {job.job_id}", keep=exceptions.NotFound):
                try:
                    for row in job.result(page_size=PAGE_ROWS, **self.request, job_retry=None):
                        seen = True
                        yield row
                except exceptions.NotFound as error:
                    if seen or not patience.wait():
                        raise WarehouseError(
                            f"BigQuery has done job {job.job_id} and cannot find its rows: start"
                            " this again"
                        ) from error
                else:
                    return

    def columns(self, job: bigquery.QueryJob) -> Sequence[bigquery.SchemaField]:
        """The columns of a query that has ended."""
        with failing(f"cannot read the columns of job {job.job_id}"):
            return list(job.result(max_results=0, **self.request, job_retry=None).schema)

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


def _config(
    parameters: Sequence[Parameter],
    labels: Mapping[str, str],
    within: bigquery.DatasetReference | None,
) -> bigquery.QueryJobConfig:
    config = bigquery.QueryJobConfig(query_parameters=list(parameters), labels=dict(labels))
    if within is not None:
        config.default_dataset = within
    return config
