"""The schedule of the nightly job, as `deploy/terraform` makes it, on Cloud Scheduler."""

import re
from typing import Any

import httplib2
from googleapiclient import discovery

from polycopy_assets_tests.cloud.run_jobs import delete_if_there
from polycopy_assets_tests.cloud.test_cloud_run import as_sent, numbers
from polycopy_assets_tests.cloud.test_terraform import default, resource

ONCE_A_YEAR = "0 0 1 1 *"
"""So that the schedule starts nothing while a test is running."""


class Schedules:
    """The schedules of `project` in a region, by Google's own client.

    Without `http`, with Application Default Credentials.
    """

    def __init__(
        self,
        project: str,
        region: str,
        url: str = "https://cloudscheduler.googleapis.com",
        http: httplib2.Http | None = None,
    ) -> None:
        options = {"client_options": {"api_endpoint": url}, "cache_discovery": False}
        api = discovery.build("cloudscheduler", "v1", http=http, static_discovery=True, **options)
        self._jobs = api.projects().locations().jobs()
        self._of = f"projects/{project}/locations/{region}"

    def create(self, name: str, account: str) -> dict[str, Any]:
        """Makes the schedule `name` of the Cloud Run job `name`, which it starts as `account`."""
        job = numbers(as_sent(resource("google_cloud_scheduler_job.nightly"), set()))
        target = job["httpTarget"]
        target["uri"] = re.sub(
            r"/projects/.*:run$", f"/{self._of}/jobs/{name}:run", str(target["uri"])
        )
        target["oauthToken"]["serviceAccountEmail"] = account
        job |= {
            "name": f"{self._of}/jobs/{name}",
            "schedule": ONCE_A_YEAR,
            "timeZone": default("time_zone"),
        }
        return self._jobs.create(parent=self._of, body=job).execute()

    def run(self, name: str) -> None:
        """Has the schedule call now what it calls at its time."""
        self._jobs.run(name=f"{self._of}/jobs/{name}", body={}).execute()

    def delete(self, name: str) -> None:
        """Deletes the schedule; none that is not there."""
        delete_if_there(self._jobs.delete(name=f"{self._of}/jobs/{name}"))
