"""Buckets as people have them: each is used as it is, or refused in one line at the start.

What then works in them is in `test_bucket_settings.py`.
"""

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from polycopy_assets.errors import StoreError
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.warehouse.bigquery.place import apart
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.fakes.proxy import Fault, Proxy, proxy
from polycopy_assets_tests.fakes.storage import Bucket, Storage


@pytest.fixture
def front(strict: Storage) -> Iterator[Proxy]:
    with proxy(strict.url) as running:
        yield running


@pytest.fixture
def bucket(strict: Storage) -> Bucket:
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    GCS(strict.url, None).client().create_bucket(name)
    return strict.buckets[name]


@pytest.fixture
def store(strict: Storage, front: Proxy, bucket: Bucket) -> GCSStore:
    return GCSStore(GCS(strict.url, None).client(front.url), bucket.name, "p", retry_seconds=5)


def deleting(*conditions: dict[str, Any]) -> dict[str, Any]:
    """A lifecycle that deletes."""
    return {"rule": [{"action": {"type": "Delete"}, "condition": each} for each in conditions]}


COLDER = {
    "action": {"type": "SetStorageClass", "storageClass": "NEARLINE"},
    "condition": {"age": 9},
}
ABORT = {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 1}}

REFUSED = {
    "old": (deleting({"age": 30}), "age 30"),
    "old, all prefixes": (deleting({"age": 30, "matchesPrefix": []}), "age 30"),
    "before a day": (deleting({"createdBefore": "2026-01-01"}), "createdBefore 2026-01-01"),
    "live": (deleting({"age": 1, "isLive": True}), "age 1, isLive True"),
    "segments": (deleting({"age": 1, "matchesPrefix": ["p/trades/"]}), r"age 1, matchesPrefix .*"),
    "of activity": (deleting({"age": 1, "matchesPrefix": ["p/activity/"]}), "age 1.*"),
    "the beginning of ours": (deleting({"age": 1, "matchesPrefix": ["x", "p/tr"]}), "age 1.*"),
    "around ours": (deleting({"age": 1, "matchesPrefix": ["p"]}), "age 1.*"),
    "one wallet": (deleting({"age": 1, "matchesPrefix": ["p/trades/0xa/"]}), "age 1.*"),
    "manifests": (deleting({"age": 1, "matchesPrefix": ["p/combined/"]}), "age 1.*"),
    "no newer version": (deleting({"age": 1, "numNewerVersions": 0}), "age 1.*"),
    "the second rule": (deleting({"age": 1, "isLive": False}, {"age": 2}), "age 2"),
    "suffix": (deleting({"age": 1, "matchesSuffix": [".gz"]}), "age 1, matchesSuffix.*"),
}


@pytest.mark.parametrize(("lifecycle", "said"), REFUSED.values(), ids=REFUSED)
def test_a_rule_that_deletes_what_must_last_is_refused(
    store: GCSStore, front: Proxy, bucket: Bucket, lifecycle: dict[str, Any], said: str
):
    bucket.change({"lifecycle": lifecycle})
    told = rf"gs://{bucket.name} has a lifecycle rule that deletes objects \({said}\), and should"
    with pytest.raises(StoreError, match=told) as error:
        store.check_writable()
    assert "\n" not in str(error.value)
    assert [method for method, _ in front.requests] == ["GET"], "nothing was written"


REFUSED_TOO = {
    "requester pays": ({"billing": {"requesterPays": True}}, "requester pays"),
    "holds": ({"defaultEventBasedHold": True}, "holds every new object .*event-based hold"),
}


@pytest.mark.parametrize(("changes", "said"), REFUSED_TOO.values(), ids=REFUSED_TOO)
def test_a_bucket_that_polycopy_cannot_work_with_is_refused_in_one_line(
    store: GCSStore, front: Proxy, bucket: Bucket, changes: dict[str, Any], said: str
):
    bucket.change(changes)
    with pytest.raises(StoreError, match=rf"{bucket.name}.*{said}") as error:
        store.check_writable()
    assert "\n" not in str(error.value)
    assert len(front.requests) == 1


def test_requester_pays_is_named_to_its_owner_too(store: GCSStore, bucket: Bucket):
    """The owner of the bucket's project may leave out who pays, so nothing else refuses."""
    bucket.change({"billing": {"requesterPays": True}})
    bucket.ours = True
    with pytest.raises(StoreError, match="has requester pays, and should not"):
        store.check_writable()


USED = {
    "nothing": {},
    "no rules": {"lifecycle": {"rule": []}},
    "colder classes and broken uploads": {"lifecycle": {"rule": [COLDER, ABORT]}},
    "parts that expire": {
        "lifecycle": deleting(
            {
                "age": 90,
                "matchesPrefix": [
                    "p/combined/parts/",
                    "p/combined/summaries/0",
                    "p/activity/combined/parts/",
                ],
            }
        )
    },
    "the rules of others": {
        "lifecycle": deleting({"age": 1, "matchesPrefix": ["q/", "tmp", "pp"]})
    },
    "old versions": {
        "versioning": {"enabled": True},
        "lifecycle": deleting(
            {"age": 1, "isLive": False}, {"numNewerVersions": 3}, {"daysSinceNoncurrentTime": 7}
        ),
    },
    "custom times, which we set on nothing": {"lifecycle": deleting({"daysSinceCustomTime": 1})},
    "soft delete": {"softDeletePolicy": {"retentionDurationSeconds": "604800"}},
    "folders": {
        "hierarchicalNamespace": {"enabled": True},
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
    },
    "a key": {"encryption": {"defaultKmsKeyName": "projects/p/locations/eu/keyRings/r/k"}},
    "autoclass": {"autoclass": {"enabled": True, "terminalStorageClass": "ARCHIVE"}},
    "a cold class": {"storageClass": "COLDLINE"},
    "own rules of objects": {
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": False}},
        "objectRetention": {"mode": "Enabled"},
    },
}


@pytest.mark.parametrize("changes", USED.values(), ids=USED)
def test_any_other_bucket_is_used_as_it_is(
    store: GCSStore, front: Proxy, bucket: Bucket, changes: dict[str, Any]
):
    bucket.change(changes)
    for _ in range(2):
        store.check_writable()
    looks = [address for _, address in front.requests if f"/b/{bucket.name}?" in address]
    assert len(looks) == 2, "one cheap look at each start"
    store.create("trades/0xa/1-2.jsonl.gz", b"x")
    assert store.read("trades/0xa/1-2.jsonl.gz") == b"x"
    store.delete("trades/0xa/1-2.jsonl.gz")


@pytest.mark.parametrize("kind", [503, 429, "reset_before", "reset_after"])
def test_a_look_that_fails_is_tried_again_and_is_never_taken_for_a_bucket_without_rules(
    store: GCSStore, front: Proxy, bucket: Bucket, kind: int | str
):
    look = f"/b/{bucket.name}[?]"
    front.faults.append(Fault("GET", look, kind, times=2))
    bucket.change({"lifecycle": deleting({"age": 30})})
    with pytest.raises(StoreError, match="lifecycle rule that deletes"):
        store.check_writable()
    front.faults[0].times = 10**6
    with pytest.raises(StoreError, match=f"cannot look at bucket gs://{bucket.name}: all retries"):
        store.check_writable()
    assert {method for method, _ in front.requests} == {"GET"}, "nothing was written"


def test_whoever_may_not_see_the_settings_is_warned_and_goes_on(
    store: GCSStore, bucket: Bucket, caplog: pytest.LogCaptureFixture
):
    bucket.hidden = True
    with caplog.at_level(logging.WARNING, "polycopy_assets.store.gcs"):
        store.check_writable()
    (record,) = [each for each in caplog.records if each.name == "polycopy_assets.store.gcs"]
    said = record.getMessage()
    assert (
        f"settings of gs://{bucket.name} are not checked, for lack of storage.buckets.get" in said
    )
    assert "\n" not in said
    store.create("a/b", b"x")


@pytest.mark.parametrize(
    ("bucket", "kind", "dataset", "wrong"),
    [
        ("EUROPE-WEST1", "region", "US", False),
        ("US", "multi-region", "US", False),
        ("EU", "multi-region", "EU", False),
        ("EUROPE-WEST1", "region", "EU", False),
        ("EUR4", "dual-region", "EU", False),
        ("US", "multi-region", "EU", True),
        ("ASIA-EAST1", "region", "EU", True),
        ("EUROPE-WEST1", "region", "europe-west1", False),
        ("EUROPE-WEST1", "region", "europe-west2", True),
        ("EUROPE-WEST4", "region", "us-east1", True),
        ("EU", "multi-region", "europe-west1", True),
        ("EUR4", "dual-region", "europe-west4", False),
    ],
)
def test_where_a_load_job_cannot_read(bucket: str, kind: str, dataset: str, *, wrong: bool):
    assert apart((bucket, kind), dataset) is wrong
