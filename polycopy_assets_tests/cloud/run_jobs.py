"""Jobs of Cloud Run, as `gcloud run jobs replace`, `execute` and `delete` make and run them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httplib2
import yaml
from google.cloud import bigquery, storage
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from polycopy_assets_tests.cloud.test_terraform import FOLDER

MANIFEST = FOLDER.parent / "cloud-run" / "job.yaml"
NOT_FOUND = 404
Resource = dict[str, Any]


class Jobs:
    """The jobs of `project` in a region whose API is at `url`, by Google's own client.

    Without `http`, with Application Default Credentials.
    """

    def __init__(self, project: str, url: str, http: httplib2.Http | None = None) -> None:
        options = {"client_options": {"api_endpoint": url}, "cache_discovery": False}
        api = discovery.build("run", "v1", http=http, static_discovery=True, **options)
        self._jobs = api.namespaces().jobs()
        self._executions = api.namespaces().executions()
        self._of = f"namespaces/{project}"
        self._project = project

    def replace(self, job: Resource, seconds: float = 120) -> None:
        """Makes the job, or changes it, and waits until it is ready."""
        named = {**job["metadata"], "namespace": self._project}
        body, path = {**job, "metadata": named}, f"{self._of}/jobs/{named['name']}"
        try:
            self._jobs.get(name=path).execute()
        except HttpError as error:
            if error.resp.status != NOT_FOUND:
                raise
            self._jobs.create(parent=self._of, body=body).execute()
        else:
            self._jobs.replaceJob(name=path, body=body).execute()
        self._until("Ready", self._jobs.get(name=path).execute, seconds)

    def execute(self, name: str, seconds: float, args: Sequence[str] = ()) -> Resource:
        """Runs the job; the status of its execution once that has ended, well or not.

        With `args` in place of the job's own, as `gcloud run jobs execute --args` sends them.
        """
        body = {"overrides": {"containerOverrides": [{"args": [*args]}]}} if args else {}
        started = self._jobs.run(name=f"{self._of}/jobs/{name}", body=body).execute()
        return self.ended(started["metadata"]["name"], seconds)

    def ended(self, execution: str, seconds: float) -> Resource:
        """The status of an execution once that has ended."""
        look = self._executions.get(name=f"{self._of}/executions/{execution}")
        return self._until("Completed", look.execute, seconds)

    def delete(self, name: str) -> None:
        """Deletes the job, with its executions; none that is not there."""
        try:
            self._jobs.delete(name=f"{self._of}/jobs/{name}").execute()
        except HttpError as error:
            if error.resp.status != NOT_FOUND:
                raise

    @staticmethod
    def _until(kind: str, look: Callable[[], Resource], seconds: float) -> Resource:
        patience, pause = time.monotonic() + seconds, 0.05
        while True:
            status = look().get("status", {})
            conditions = {each["type"]: each for each in status.get("conditions", [])}
            if conditions.get(kind, {}).get("status", "Unknown") != "Unknown":
                return status
            assert time.monotonic() < patience, f"not {kind} after {seconds:g} s: {status}"
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


def why(status: Resource) -> str:
    """What an execution says about how it ended."""
    return "; ".join(
        f"{each['type']}={each['status']} {each.get('reason', '')} {each.get('message', '')}"
        for each in status["conditions"]
    )


def manifest(
    name: str, *, store: str, warehouse: str, image: str, account: str, text: str | None = None
) -> Resource:
    """`deploy/cloud-run/job.yaml`, or `text`, with what its first lines say is to be replaced."""
    job: Resource = yaml.safe_load(MANIFEST.read_text() if text is None else text)
    job["metadata"]["name"] = name
    task = job["spec"]["template"]["spec"]["template"]["spec"]
    task["serviceAccountName"] = account
    task["containers"][0]["image"] = image
    return with_settings(job, {"POLYCOPY_STORE": store, "POLYCOPY_WAREHOUSE": warehouse})


def with_settings(job: Resource, settings: Mapping[str, str]) -> Resource:
    """The job with these variables in place of those of the same names, or beside the others."""
    (container,) = job["spec"]["template"]["spec"]["template"]["spec"]["containers"]
    others = [each for each in container["env"] if each["name"] not in settings]
    added = [{"name": name, "value": value} for name, value in settings.items()]
    container["env"] = [*others, *added]
    return job


def let_work(bucket: storage.Bucket, owner: bigquery.Client, dataset: str, account: str) -> None:
    """Grants a service account what the job needs in bucket and dataset."""
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.version = 3
    for role in ("roles/storage.objectAdmin", "roles/storage.legacyBucketReader"):
        policy.bindings.append({"role": role, "members": {f"serviceAccount:{account}"}})
    bucket.set_iam_policy(policy)
    found = owner.get_dataset(dataset)
    entry = bigquery.AccessEntry(
        role="roles/bigquery.dataEditor", entity_type="userByEmail", entity_id=account
    )
    found.access_entries = [*found.access_entries, entry]
    owner.update_dataset(found, ["access_entries"])
