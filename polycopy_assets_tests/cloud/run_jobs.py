"""Jobs of Cloud Run, as `gcloud run jobs replace`, `execute` and `delete` make and run them."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httplib2
import yaml
from google.cloud import bigquery, storage
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from polycopy_assets_tests.cloud.test_terraform import FOLDER, bare, resource

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
        self._policies = api.projects().locations().jobs()
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

    def executions(self, name: str) -> list[str]:
        """The names of what was started of the job, by whomever."""
        of_job = f"run.googleapis.com/job={name}"
        found = self._executions.list(parent=self._of, labelSelector=of_job).execute()
        return [each["metadata"]["name"] for each in found.get("items", [])]

    def let_start(self, name: str, region: str, account: str) -> None:
        """Lets a service account start the job, as Terraform lets that of the schedule."""
        role = str(resource("google_cloud_run_v2_job_iam_member.schedule")["role"])
        where = f"projects/{self._project}/locations/{region}/jobs/{name}"
        policy = self._policies.getIamPolicy(resource=where).execute()
        added = {"role": bare(role), "members": [f"serviceAccount:{account}"]}
        policy["bindings"] = [*policy.get("bindings", []), added]
        self._policies.setIamPolicy(resource=where, body={"policy": policy}).execute()

    def ended(self, execution: str, seconds: float) -> Resource:
        """The status of an execution once that has ended."""
        look = self._executions.get(name=f"{self._of}/executions/{execution}")
        return self._until("Completed", look.execute, seconds)

    def delete(self, name: str) -> None:
        """Deletes the job, with its executions; none that is not there."""
        delete_if_there(self._jobs.delete(name=f"{self._of}/jobs/{name}"))

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


def delete_if_there(request: Any) -> None:
    """Sends a request of Google's client that deletes what may be gone already."""
    try:
        request.execute()
    except HttpError as error:
        if error.resp.status != NOT_FOUND:
            raise


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


_COMMENTED = r"^( +)# ( *(?:- name|valueFrom|secretKeyRef|name|key|run\.[^:]+):.*)$"


def with_database(text: str, secret: str, database: str) -> str:
    """The manifest's `text` as its comments say for a database in Cloud SQL.

    `database` is its connection name; `secret` names the secret with its URL.
    """
    text = re.sub(r" +- name: POLYCOPY_INSTANCE\n +value: ephemeral\n", "", text)
    text = re.sub(_COMMENTED, r"\1\2", text, flags=re.MULTILINE)
    text = text.replace("my-project:us-central1:polycopy-record", database)
    return text.replace("name: polycopy-instance", f"name: {secret}")


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
