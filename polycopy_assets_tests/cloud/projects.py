"""Projects for the nightly job: a real one (`make test-cloud`), and one of stand-ins."""

import gzip
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httplib2
import pytest
from google.cloud import bigquery, storage

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets_tests.cloud.batches import GoogleBench
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client
from polycopy_assets_tests.cloud.run_jobs import (
    Jobs,
    Resource,
    let_work,
    manifest,
    with_settings,
)
from polycopy_assets_tests.cloud.schedules import Schedules
from polycopy_assets_tests.deployment import sample_api
from polycopy_assets_tests.fakes.bigquery import bigquery_double
from polycopy_assets_tests.fakes.cloud_run import CloudRun, cloud_run
from polycopy_assets_tests.fakes.cloud_scheduler import CloudScheduler, cloud_scheduler
from polycopy_assets_tests.fakes.gcs import GCS, google_environ
from polycopy_assets_tests.fakes.storage import Storage

LOCATION = os.environ.get("POLYCOPY_TEST_LOCATION", "EU")
IMAGE, WANTED = "POLYCOPY_TEST_IMAGE", "POLYCOPY_TEST_WALLETS"
ACCOUNT, REGION = "POLYCOPY_TEST_ACCOUNT", "POLYCOPY_TEST_REGION"
GRANTED_SECONDS = 120.0
"""How long a new grant takes, at most of the time."""

DIGEST = f"europe-docker.pkg.dev/proj/polycopy/polycopy@sha256:{'0' * 64}"
WORLD = generate(83, 6, whales=2, whale_trades=2_500)


@dataclass
class There:
    """A project with a bucket, a dataset and wallets that are wanted; `fake` if it is a double.

    The store lies below the dataset's name: a bucket may serve many tests.
    """

    jobs: Jobs
    schedules: Schedules
    region: str
    bench: GoogleBench
    account: str
    image: str
    settings: dict[str, str]
    wallets: list[str]
    seconds: float
    bucket: str
    fake: tuple[CloudRun, Served] | None = None
    scheduler: CloudScheduler | None = None

    def job(self, name: str, text: str | None = None) -> Resource:
        """The manifest, for this project."""
        table = f"bigquery://{self.bench.google.project}/{self.bench.dataset}"
        made = manifest(
            name,
            store=f"gs://{self.bucket}/{self.bench.dataset}",
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


def real_project(bucket: storage.Bucket) -> Iterator[There]:
    """With `bucket`, and a dataset that is removed at the end."""
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
            Schedules(project, region),
            region,
            GoogleBench(owner, dataset, GCSStore(bucket.client, str(bucket.name), dataset)),
            account,
            os.environ[IMAGE],
            {},
            [each.lower() for each in os.environ[WANTED].split(",")],
            8 * 3_600,
            str(bucket.name),
        )
    finally:
        owner.delete_dataset(dataset, delete_contents=True)


def double_project(strict: Storage, root: Path) -> Iterator[There]:
    """Of stand-ins; what tasks write lies below `root`."""
    name, account = f"d{uuid.uuid4().hex[:12]}", "polycopy-run@proj.iam.gserviceaccount.com"
    gcs, http = GCS(strict.url, None), httplib2.Http(proxy_info=None)
    with (
        sample_api(WORLD) as served,
        bigquery_double(strict.url) as tables,
        cloud_run(root / "tasks", google_environ(gcs, tables.url)) as running,
        cloud_scheduler(running) as scheduler,
    ):
        owner, bucket = bigquery_client(tables.url), gcs.client().create_bucket(name)
        owner.create_dataset(name)
        let_work(bucket, owner, name, account)
        assert strict.buckets[name].policy["bindings"][0]["members"] == [
            f"serviceAccount:{account}"
        ]
        assert owner.get_dataset(name).access_entries[0].entity_id == account
        yield There(
            Jobs(PROJECT, running.url, http),
            Schedules(PROJECT, "eu", scheduler.url, http),
            "eu",
            GoogleBench(owner, name, GCSStore(gcs.client(), name, name)),
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
            scheduler,
        )
