"""The state of BigQuery jobs: found by their ids, and awaited until it is final.

BigQuery may not find a job that it has just taken. So there is a time to wait for that, after which
the job counts as lost.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any, TypeVar

from google.api_core import exceptions
from google.cloud import bigquery

from polycopy_assets.errors import WarehouseError
from polycopy_assets.warehouse.bigquery.failing import ended_in, failing

Job = TypeVar("Job", bigquery.LoadJob, bigquery.QueryJob)
_LOG = logging.getLogger(__name__)


class JobStates:
    """Reads the jobs of `client` in one location; `request` are the options of each request."""

    def __init__(
        self, client: bigquery.Client, location: str | None, request: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._location = location
        self._request = request

    def find(self, kind: type[Job], job_id: str, patience: "Patience") -> Job | None:
        """The job with that id, which BigQuery says exists; None if it cannot find it."""
        while True:
            with failing(f"cannot read job {job_id}", keep=exceptions.NotFound):
                try:
                    job = self._client.get_job(job_id, location=self._location, **self._request)
                except exceptions.NotFound:
                    if patience.wait():
                        continue
                    _LOG.warning("BigQuery says that job %s exists and cannot find it", job_id)
                    return None
            if not isinstance(job, kind):
                raise WarehouseError(f"job {job_id} is a {type(job).__name__}, not one of ours")
            return job

    def wait(
        self, job: bigquery.LoadJob | bigquery.QueryJob, patience: "Patience"
    ) -> exceptions.GoogleAPICallError | None:
        """Waits until the job is final; returns the error that it ended in, if any.

        Raises NotFound if BigQuery cannot find it any more, and WarehouseError if its state cannot
        be read.
        """
        pause = 0.05
        while job.state != "DONE":
            with failing(f"lost contact with job {job.job_id}", keep=exceptions.NotFound):
                try:
                    job.reload(**self._request)
                except exceptions.NotFound:
                    if not patience.wait():
                        raise
                    continue
            patience.found()
            if job.state != "DONE":
                time.sleep(pause)
                pause = min(pause * 1.5, 10.0)
        return None if job.error_result is None else ended_in(job.error_result)


class Patience:
    """Waits for jobs that BigQuery cannot find, `seconds` for all that are lost in a row."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def wait(self) -> bool:
        """Waits a moment; False, at once, if the time is up."""
        now = time.monotonic()
        self._until = now + self._seconds if self._until is None else self._until
        if now >= self._until:
            return False
        time.sleep(min(1.0, self._seconds / 10))
        return True

    def found(self) -> None:
        """A job was found: the time begins anew."""
        self._until = None
