"""The nightly job of `deploy/cloud-run/job.yaml`: made, executed, watched and deleted.

On a double of Cloud Run, which starts what the image would start; and by `make test-cloud` in a
real project, with an image that is in a registry.
"""

import gzip
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httplib2
import httpx
import pytest
from google.cloud import bigquery, storage
from googleapiclient.errors import HttpError

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.system.interrupt import TO_BE_CONTINUED
from polycopy_assets_tests.cloud.batches import GoogleBench
from polycopy_assets_tests.cloud.conftest import LOCATION
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client
from polycopy_assets_tests.cloud.run_jobs import (
    MANIFEST,
    Jobs,
    Resource,
    let_work,
    manifest,
    why,
    with_settings,
)
from polycopy_assets_tests.cloud.test_terraform import resource
from polycopy_assets_tests.deployment import sample_api, truth
from polycopy_assets_tests.fakes.bigquery import bigquery_double
from polycopy_assets_tests.fakes.cloud_run import CloudRun, cloud_run
from polycopy_assets_tests.fakes.gcs import GCS, google_environ
from polycopy_assets_tests.fakes.postgres import new_database
from polycopy_assets_tests.fakes.storage import Storage

pytestmark = pytest.mark.timeout(60_000)  # each wait of its own has an end
IMAGE, WANTED = "POLYCOPY_TEST_IMAGE", "POLYCOPY_TEST_WALLETS"
ACCOUNT, REGION = "POLYCOPY_TEST_ACCOUNT", "POLYCOPY_TEST_REGION"
GRANTED_SECONDS = 120.0
"""How long a new grant takes, at most of the time."""

DIGEST = f"europe-docker.pkg.dev/proj/polycopy/polycopy@sha256:{'0' * 64}"
WORLD = generate(83, 6, whales=2, whale_trades=2_500)


@dataclass
class There:
    """A project with a bucket, a dataset and wallets that are wanted; `fake` if it is a double."""

    jobs: Jobs
    bench: GoogleBench
    account: str
    image: str
    settings: dict[str, str]
    wallets: list[str]
    seconds: float
    bucket: str
    fake: tuple[CloudRun, Served] | None = None

    def job(self, name: str, text: str | None = None) -> Resource:
        """The manifest, for this project."""
        table = f"bigquery://{self.bench.google.project}/{self.bench.dataset}"
        made = manifest(
            name,
            store=f"gs://{self.bucket}/polycopy",
            warehouse=table,
            image=self.image,
            account=self.account,
            text=text,
        )
        return with_settings(made, self.settings)

    def stored(self) -> dict[str, int]:
        """The trades of each wallet in the bucket."""
        found = dict.fromkeys(self.wallets, 0)
        for item in self.bench.store.list("trades/"):
            if item.name.endswith(".jsonl.gz"):
                lines = gzip.decompress(self.bench.store.read(item.name)).splitlines()
                found[item.name.split("/")[1]] += len(lines)
        return found

    def objects(self) -> list[str]:
        """What a fetch or a load would add to."""
        store = self.bench.store
        return [each.name for kind in ("trades/", "combined/") for each in store.list(kind)]


@pytest.fixture(params=["double", pytest.param("cloud", marks=pytest.mark.cloud)])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[There]:
    """Each project in turn, with the wallets in `traders`."""
    if request.param == "cloud":
        place = _real(request.getfixturevalue("cloud"))
    else:
        place = _double(request.getfixturevalue("strict"), tmp_path)
    for found in place:
        found.bench.warehouse.add_traders(found.wallets)
        yield found


def _real(bucket: storage.Bucket) -> Iterator[There]:
    missing = [name for name in (IMAGE, WANTED) if not os.environ.get(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not set: no image to run, or no wallets to fetch")
    project, region = str(bucket.client.project), os.environ.get(REGION, "europe-west1")
    account = os.environ.get(ACCOUNT, f"polycopy-run@{project}.iam.gserviceaccount.com")
    owner, dataset = bigquery.Client(project=project, location=LOCATION), f"d{uuid.uuid4().hex}"
    owner.create_dataset(dataset)
    try:
        let_work(bucket, owner, dataset, account)
        time.sleep(GRANTED_SECONDS)
        yield There(
            Jobs(project, f"https://{region}-run.googleapis.com"),
            GoogleBench(owner, dataset, GCSStore(bucket.client, str(bucket.name), "polycopy")),
            account,
            os.environ[IMAGE],
            {},
            [each.lower() for each in os.environ[WANTED].split(",")],
            8 * 3_600,
            str(bucket.name),
        )
    finally:
        owner.delete_dataset(dataset, delete_contents=True)


def _double(strict: Storage, root: Path) -> Iterator[There]:
    name, account = f"d{uuid.uuid4().hex[:12]}", "polycopy-run@proj.iam.gserviceaccount.com"
    gcs = GCS(strict.url, None)
    with (
        sample_api(WORLD) as served,
        bigquery_double(strict.url) as tables,
        cloud_run(root / "tasks", google_environ(gcs, tables.url)) as running,
    ):
        owner, bucket = bigquery_client(tables.url), gcs.client().create_bucket(name)
        owner.create_dataset(name)
        let_work(bucket, owner, name, account)
        assert strict.buckets[name].policy["bindings"][0]["members"] == [
            f"serviceAccount:{account}"
        ]
        assert owner.get_dataset(name).access_entries[0].entity_id == account
        yield There(
            Jobs(PROJECT, running.url, httplib2.Http(proxy_info=None)),
            GoogleBench(owner, name, GCSStore(gcs.client(), name, "polycopy")),
            account,
            DIGEST,
            {
                "POLYCOPY_SOURCE_URL": served.url,
                "POLYCOPY_RATE_LIMIT": "100000/1",
                "POLYCOPY_CONCURRENCY": "2",
            },
            [each.lower() for each in WORLD.wallets()],
            600,
            name,
            (running, served),
        )


@pytest.fixture
def name(there: There) -> Iterator[str]:
    """The name of a job that is deleted at the end."""
    name = f"polycopy-test-{uuid.uuid4().hex[:12]}"
    yield name
    there.jobs.delete(name)
    assert there.fake is None or there.fake[0].jobs == {}


def test_the_job_fills_the_table_and_its_second_execution_has_nothing_to_do(
    there: There, name: str
):
    there.jobs.replace(there.job(name))
    first = there.jobs.execute(name, there.seconds)
    assert first.get("succeededCount") == 1, why(first)
    rows = there.bench.warehouse.table(TRADES).rows_by_wallet()
    assert rows == there.stored()
    assert all(rows[wallet] for wallet in there.wallets)
    assert there.bench.warehouse.table(TRADES).duplicates(1).found == []
    before = there.objects()
    if there.fake:
        there.fake[1].state.counts.reset()
    there.jobs.replace(there.job(name))  # as an upgrade does it
    second = there.jobs.execute(name, there.seconds)
    assert second.get("succeededCount") == 1, why(second)
    assert there.objects() == before
    assert there.bench.warehouse.table(TRADES).rows_by_wallet() == rows
    if there.fake:
        running, served = there.fake
        assert served.state.counts.trade_requests == 0
        assert rows == {each.lower(): len(WORLD.truth(each)) for each in WORLD.wallets()}
        ends = [each.attempts for each in running.executions.values()]
        assert [[attempt.code for attempt in each] for each in ends] == [[0], [0]]


COMMENTED = r"^( +)# ( *(?:- name|valueFrom|secretKeyRef|name|key|run\.[^:]+):.*)$"


def with_database(text: str) -> str:
    """The manifest as its comments say for a database in Cloud SQL."""
    text = re.sub(r" +- name: POLYCOPY_INSTANCE\n +value: ephemeral\n", "", text)
    return re.sub(COMMENTED, r"\1\2", text, flags=re.MULTILINE)


@pytest.mark.parametrize("there", ["double"], indirect=True)
def test_an_attempt_that_cloud_run_ends_is_continued_by_the_next_with_the_record_in_a_database(
    there: There, name: str, server: str
):
    assert there.fake
    running, served = there.fake
    running.secrets["polycopy-instance"] = new_database(server)
    served.state.latency = 0.2
    running.out_of_time = lambda attempt, _: (
        attempt.number == 0 and served.state.counts.trade_requests > 3
    )
    job = there.job(name, with_database(MANIFEST.read_text()))
    (container,) = job["spec"]["template"]["spec"]["template"]["spec"]["containers"]
    assert [each for each in container["env"] if "valueFrom" in each]
    there.jobs.replace(job)
    done = there.jobs.execute(name, there.seconds)
    assert (done["succeededCount"], done["retriedCount"]) == (1, 1), why(done)
    (execution,) = running.executions.values()
    assert [each.code for each in execution.attempts] == [TO_BE_CONTINUED, 0]
    assert there.bench.warehouse.table(TRADES).rows_by_wallet() == there.stored()
    assert sum(there.stored().values()) == truth(WORLD).total()
    # What is under way when it is told to stop is at most a page of each of two wallets.
    asked = sum(served.state.counts.rows.values())
    assert asked <= truth(WORLD).total() + 2 * 1_100
    password = running.secrets["polycopy-instance"].split(":")[2].split("@")[0]
    assert password not in "".join(each.said for each in execution.attempts)
    report = json.loads(execution.attempts[-1].said.strip().splitlines()[-1])
    assert report["left"] == 0
    # The database is given up, as docs/deployment.md says: nothing is requested again.
    running.secrets["polycopy-instance"] = new_database(server)
    served.state.counts.reset()
    restored = there.jobs.execute(name, there.seconds, ["reconcile", "--apply", "--json"])
    assert restored["succeededCount"] == 1, why(restored)
    said = list(running.executions.values())[-1].attempts[-1].said
    findings = json.loads(said.strip().splitlines()[-1])["findings"]
    assert {each["wallet"] for each in findings} == set(there.wallets)
    assert served.state.counts.trade_requests == 0


@pytest.mark.parametrize("there", ["double"], indirect=True)
def test_a_job_that_cannot_start_ends_as_failed_and_says_why(there: There, name: str):
    assert there.fake
    running, _ = there.fake
    job = there.job(name)
    task: dict[str, Any] = job["spec"]["template"]["spec"]["template"]["spec"]
    (container,) = task["containers"]
    task["maxRetries"] = 0
    del container["command"]
    there.jobs.replace(job)
    ended = there.jobs.execute(name, there.seconds)
    assert ended["failedCount"] == 1
    assert 'exec: "backfill": executable file not found' in why(ended)
    # The schedule starts it by the other version of the API.
    uri = str(resource("google_cloud_scheduler_job.nightly")["http_target"][0]["uri"])
    path = re.sub(r"\$\{[^}]*\}", "x", uri.removeprefix("https://run.googleapis.com"))
    start = path.replace("/jobs/x:run", f"/jobs/{name}:run")
    assert httpx.post(f"{running.url}{start}").status_code == 200
    for _ in range(100):
        if all(each.succeeded is False for each in running.executions.values()):
            break
        time.sleep(0.05)
    assert [each.succeeded for each in running.executions.values()] == [False, False]


@pytest.mark.parametrize("there", ["double"], indirect=True)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"maxRetries": 11}, "maxRetries: 0 to 10"),
        ({"timeoutSeconds": "604801"}, "at most 168 hours"),
        ({"retries": 3}, "no such field"),
    ],
)
def test_a_manifest_that_cloud_run_refuses_makes_no_job(
    there: There, name: str, wrong: dict[str, Any], said: str
):
    job = there.job(name)
    job["spec"]["template"]["spec"]["template"]["spec"] |= wrong
    with pytest.raises(HttpError, match=said):
        there.jobs.replace(job)
    assert there.fake
    assert there.fake[0].jobs == {}
