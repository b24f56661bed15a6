"""What the settings of a bucket do on the double, and what polycopy makes of it."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from google.cloud import storage

from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import ObjectKept, ObjectLost, StoreError
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets_tests.cloud.google import PREFIX, GoogleDeployment
from polycopy_assets_tests.deployment import sample_api, truth
from polycopy_assets_tests.fakes.bigquery import bigquery_double
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.fakes.storage import Bucket, Storage

LARGE = b"x" * 2**18


@pytest.fixture
def client(strict: Storage) -> storage.Client:
    return GCS(strict.url, None).client()


@pytest.fixture
def bucket(strict: Storage, client: storage.Client) -> Bucket:
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(name)
    return strict.buckets[name]


@pytest.fixture
def store(client: storage.Client, bucket: Bucket) -> GCSStore:
    return GCSStore(client, bucket.name, "p", retry_seconds=5)


def rule(action: str, **condition: Any) -> dict[str, Any]:
    """A lifecycle with one rule."""
    kind = {"type": action}
    if action == "SetStorageClass":
        kind["storageClass"] = "NEARLINE"
    return {"lifecycle": {"rule": [{"action": kind, "condition": condition}]}}


def test_soft_deleted_and_noncurrent_objects_are_not_listed_and_come_back_whole(
    strict: Storage, client: storage.Client, bucket: Bucket, store: GCSStore
):
    owned = client.bucket(bucket.name)
    store.create("a/b", b"x")
    store.delete("a/b")
    (soft,) = client.list_blobs(owned, soft_deleted=True)
    assert list(store.list("a/")) == []
    owned.restore_blob(soft.name, generation=soft.generation)
    assert store.read("a/b") == b"x"
    bucket.change({"versioning": {"enabled": True}})
    store.delete("a/b")
    store.create("a/b", b"y")
    every = list(client.list_blobs(owned, versions=True))
    assert [blob.download_as_bytes() for blob in every] == [b"x", b"y"]
    assert [item.size for item in store.list("a/")] == [1]
    bucket.change(rule("Delete", daysSinceNoncurrentTime=3))
    strict.later(days=4)
    assert len(list(client.list_blobs(owned, versions=True))) == 1
    assert store.read("a/b") == b"y"
    strict.later(days=8)
    assert list(client.list_blobs(owned, soft_deleted=True)) == []


def test_a_rule_that_we_refuse_would_have_deleted_segments_and_a_hold_would_have_kept_them(
    strict: Storage, bucket: Bucket, store: GCSStore
):
    bucket.change(rule("Delete", age=30))
    with pytest.raises(StoreError, match="lifecycle rule that deletes"):
        store.check_writable()
    store.create("trades/0xa/1-2.jsonl.gz", b"x")
    bucket.change({"defaultEventBasedHold": True})
    store.create("trades/0xa/2-3.jsonl.gz", b"x")
    strict.later(days=31)
    assert [item.name for item in store.list("trades/")] == ["trades/0xa/2-3.jsonl.gz"]
    with pytest.raises(ObjectLost):
        store.read("trades/0xa/1-2.jsonl.gz")
    with pytest.raises(ObjectKept, match="Event-Based hold"):
        store.delete("trades/0xa/2-3.jsonl.gz")


def test_a_retention_policy_counts_from_the_release_of_an_event_based_hold(
    strict: Storage, client: storage.Client, bucket: Bucket, store: GCSStore
):
    bucket.change({"defaultEventBasedHold": True, "retentionPolicy": {"retentionPeriod": "3600"}})
    store.create("a/b", b"x")
    strict.later(hours=5)
    blob = client.bucket(bucket.name).get_blob("p/a/b")
    assert blob is not None
    blob.event_based_hold = False
    blob.patch()
    with pytest.raises(ObjectKept, match="retention policy"):
        store.delete("a/b")
    strict.later(hours=2)
    store.delete("a/b")
    assert list(store.list("a/")) == []


def test_colder_objects_are_read_as_before(strict: Storage, bucket: Bucket, store: GCSStore):
    bucket.change({"autoclass": {"enabled": True}, **rule("SetStorageClass", age=1)})
    store.create("a/large", LARGE)
    store.create("a/small", b"x")
    strict.later(days=40)
    kinds = {name: version.storage_class for name, version in bucket.live.items()}
    assert kinds == {"p/a/large": "NEARLINE", "p/a/small": "STANDARD"}
    assert store.read("a/large") == LARGE
    assert bucket.live["p/a/large"].storage_class == "STANDARD", "what is read gets warm again"


@pytest.mark.parametrize("what", ["payer", "folders", "key"])
def test_what_a_bucket_refuses_to_us_is_one_line_that_says_what_is_missing(
    bucket: Bucket, store: GCSStore, what: str
):
    store.create("a/b", b"x")
    if what == "payer":
        bucket.change({"billing": {"requesterPays": True}})
        said, fails = (
            "has requester pays, and should not",
            [lambda: store.read("a/b"), lambda: list(store.list("a/"))],
        )
    elif what == "folders":
        bucket.change(
            {
                "hierarchicalNamespace": {"enabled": True},
                "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
            }
        )
        bucket.may_make_folders = False
        said, fails = "storage.folders.create", []
    else:
        bucket.change({"encryption": {"defaultKmsKeyName": "projects/p/locations/l/keyRings/r/k"}})
        store.create("a/c", b"x")
        bucket.key_granted = False
        said, fails = "Permission denied on Cloud KMS key", [lambda: store.read("a/c")]
    for fail in (*fails, lambda: store.create("new/d", b"x")):
        with pytest.raises(StoreError, match=said) as error:
            fail()
        assert "\n" not in str(error.value)
        assert '{"error"' not in str(error.value), "what Google says, and not how it is packed"


def test_a_backfill_and_its_repeat_come_out_whole_in_a_bucket_that_keeps_everything(
    tmp_path: Path, strict: Storage
):
    world = generate(47, 4, most_trades=30)
    with sample_api(world) as served, bigquery_double(strict.url) as double:
        gcs = GCS(strict.url, None)
        deployment = GoogleDeployment(tmp_path, served.url, gcs, double.url)
        bucket = strict.buckets[deployment.name]
        bucket.change(
            {"retentionPolicy": {"retentionPeriod": "86400"}, "versioning": {"enabled": True}}
        )
        deployment.want(world.wallets())
        report = deployment.backfill()
        assert (report.complete, report.failed) == (4, 0)
        assert deployment.table() == truth(world)
        assert deployment.backfill().requests == 0
        served.state.counts.requests.clear()
        with deployment.instance():
            assert deployment.reconcile("--apply")["findings"]
        assert not served.state.counts.requests
    assert deployment.table
    assert bucket.noncurrent == bucket.soft_deleted == []
    assert all(name.startswith(f"{PREFIX}/") for name in bucket.live)
