"""The store on buckets with settings: what works, what stays, and what is refused.

On the double, and by `make test-cloud` in a real project, with buckets that it makes and removes.
"""

import os
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from google.cloud import storage

from polycopy_assets.errors import ObjectExists, ObjectKept, StoreError
from polycopy_assets.fetch.compaction import unite
from polycopy_assets.pipeline.leftovers import Leftovers
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.bench import END, WALLETS, Bench, duckdb_sql, expected, middle
from polycopy_assets_tests.cloud import test_store_contract as contract
from polycopy_assets_tests.cloud.projects import LOCATION
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.fakes.storage import Storage
from polycopy_assets_tests.of_trades import left_over, wallet_prefix

KEY = "POLYCOPY_TEST_KEY"
"""Names a key of Cloud KMS that the real project's service account may use."""

UNIFORM = {"uniformBucketLevelAccess": {"enabled": True}}
HOUR = {"retentionPeriod": "3600"}


class Setting(NamedTuple):
    """Settings of a bucket, whether objects in it can be deleted, and if not, why not."""

    resource: dict[str, Any]
    kept: str = ""


SETTINGS = {
    "soft delete": Setting({"softDeletePolicy": {"retentionDurationSeconds": "604800"}}),
    "no soft delete": Setting({"softDeletePolicy": {"retentionDurationSeconds": "0"}}),
    "versioning": Setting({"versioning": {"enabled": True}}),
    "retention": Setting({"retentionPolicy": HOUR}, "retention policy"),
    "folders": Setting({"hierarchicalNamespace": {"enabled": True}, "iamConfiguration": UNIFORM}),
    "autoclass": Setting({"autoclass": {"enabled": True}}),
    "a key": Setting({"encryption": {"defaultKmsKeyName": "projects/p/locations/l/keyRings/r/k"}}),
    "cold": Setting({"storageClass": "COLDLINE"}),
    "lifecycle": Setting(
        {
            "lifecycle": {
                "rule": [
                    {"action": {"type": "Delete"}, "condition": {"age": 9, "matchesPrefix": ["q/"]}}
                ]
            }
        }
    ),
}


class Made(NamedTuple):
    """A bucket, by its owner's client, and a store in it; `strict` is the double, if it is one."""

    bucket: storage.Bucket
    store: GCSStore
    setting: Setting
    strict: Storage | None


@pytest.fixture(params=["double", pytest.param("cloud", marks=pytest.mark.cloud)])
def owner(request: pytest.FixtureRequest, strict: Storage) -> storage.Client:
    """The client of the owner of the buckets."""
    if request.param == "double":
        return GCS(strict.url, None).client()
    project = os.environ.get("POLYCOPY_TEST_PROJECT")
    if not project:
        pytest.skip("POLYCOPY_TEST_PROJECT is not set: no real Google Cloud project to test on")
    return storage.Client(project=project)


@pytest.fixture(params=SETTINGS.values(), ids=list(SETTINGS))
def made(request: pytest.FixtureRequest, owner: storage.Client, strict: Storage) -> Iterator[Made]:
    """A new bucket with each of the settings in turn."""
    setting: Setting = request.param
    real = str(owner.project) != "test"
    resource = dict(setting.resource)
    if real and "encryption" in resource:
        if KEY not in os.environ:
            pytest.skip(f"{KEY} is not set: no key to encrypt with")
        resource["encryption"] = {"defaultKmsKeyName": os.environ[KEY]}
    bucket = new_bucket(owner, resource)
    ours = storage.Client(project=owner.project) if real else owner
    store = GCSStore(ours, str(bucket.name), "p")
    yield Made(bucket, store, setting, None if real else strict)
    remove(bucket)


def new_bucket(owner: storage.Client, resource: dict[str, Any]) -> storage.Bucket:
    """A bucket with these settings, by the interface's names."""
    bucket = owner.bucket(f"polycopy-test-{uuid.uuid4().hex}")
    for name, value in resource.items():
        bucket._patch_property(name, value)  # not all of them have another way
    owner.create_bucket(bucket, location=LOCATION)
    return bucket


def remove(bucket: storage.Bucket) -> None:
    """Removes a bucket and all generations of its objects, whatever kept them."""
    bucket.reload()
    if bucket.retention_period:
        bucket.retention_period = None
        bucket.patch()
    for blob in bucket.list_blobs(versions=True):
        if blob.temporary_hold:
            blob.temporary_hold = False
            blob.patch()
        bucket.delete_blob(blob.name, generation=blob.generation)
    bucket.delete()


@pytest.fixture
def store(made: Made) -> GCSStore:
    """For the contract's tests."""
    return made.store


test_one_wins = contract.test_of_thirty_who_create_the_same_name_one_wins_and_its_bytes_stand
test_same_bytes = contract.test_the_same_bytes_again_are_no_error_and_others_are
test_listing = contract.test_listing_is_by_prefix_and_sorted_and_tells_sizes
test_lost = contract.test_what_is_not_there_is_lost_and_not_empty
test_checked = contract.test_a_store_is_checked_before_work_begins_and_stays_as_it_was


def test_what_is_deleted_is_gone_and_its_name_is_free_or_it_stays_with_a_reason(made: Made):
    store = made.store
    store.create("a/b", b"x")
    if made.setting.kept:
        with pytest.raises(ObjectKept, match=made.setting.kept) as error:
            store.delete("a/b")
        assert "\n" not in str(error.value)
        assert store.read("a/b") == b"x"
        if made.strict is None:
            return
        made.strict.later(hours=2)
    for content in (b"x", b"y"):
        store.create("a/b", content)
        with pytest.raises(ObjectExists):
            store.create("a/b", b"z")
        assert [(item.name, item.size) for item in store.list("a/")] == [("a/b", 1)]
        assert store.read("a/b") == content
        if made.setting.kept and content == b"y":
            return
        store.delete("a/b")
        store.delete("a/b")
        assert list(store.list("a/")) == []


def test_an_object_under_a_hold_of_its_own_stays_and_others_go(made: Made):
    store = made.store
    for name in ("a/held", "a/free"):
        store.create(name, b"x")
    held = made.bucket.get_blob("p/a/held")
    assert held is not None
    held.temporary_hold = True
    held.patch()
    with pytest.raises(ObjectKept, match="hold"):
        store.delete("a/held")
    with pytest.raises(ObjectExists):
        store.create("a/held", b"y")
    if not made.setting.kept:
        store.delete("a/free")
        assert [item.name for item in store.list("a/")] == ["a/held"]


def test_pieces_of_a_union_go_or_stay_and_no_trade_is_lost_or_doubled(
    made: Made, tmp_path: Any, caplog: pytest.LogCaptureFixture
):
    store, wallet = made.store, WALLETS[0]
    table = DuckDBWarehouse(tmp_path / "w.duckdb")
    bench = Bench(store, table, duckdb_sql(table.path))
    cut = middle(wallet)
    pieces = [bench.fetch(wallet, 0, cut), bench.fetch(wallet, cut, END)]
    union = unite(bench.store, pieces)
    bench.segments[wallet] = [union]

    def remove_pieces() -> list[str]:
        stored = [item.name for item in store.list(wallet_prefix(wallet))]
        leftovers = Leftovers(store)
        leftovers.add(left_over(stored, [union]))
        leftovers.remove()
        return [item.name for item in store.list(wallet_prefix(wallet))]

    left = remove_pieces()
    bench.combine()
    bench.load()
    assert bench.ids() == expected([wallet])
    if made.setting.kept:
        assert sorted(left) == sorted([union.name, *(piece.name for piece in pieces)])
        assert "2 segments that no longer count could not be removed" in caplog.text
        if made.strict is None:
            return
        made.strict.later(hours=2)
        left = remove_pieces()
    assert left == [union.name]
    assert crc32c(store.read(union.name)) == union.crc32c


REFUSED = {
    "requester pays": ({"billing": {"requesterPays": True}}, "has requester pays"),
    "holds": ({"defaultEventBasedHold": True}, "holds every new object"),
    "lifecycle": (
        {"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 900}}]}},
        r"lifecycle rule that deletes objects \(age 900\)",
    ),
}


@pytest.mark.parametrize(("resource", "told"), REFUSED.values(), ids=list(REFUSED))
def test_a_bucket_that_cannot_be_used_is_refused_before_anything_is_written(
    owner: storage.Client, strict: Storage, resource: dict[str, Any], told: str
):
    bucket = new_bucket(owner, resource)
    if str(bucket.name) in strict.buckets:
        strict.buckets[str(bucket.name)].ours = True
    with pytest.raises(StoreError, match=told) as error:
        GCSStore(owner, str(bucket.name), "p").check_writable()
    assert "\n" not in str(error.value)
    assert list(bucket.list_blobs()) == []
    bucket.delete()
