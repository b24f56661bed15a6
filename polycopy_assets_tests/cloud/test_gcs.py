"""The GCS store: what it sends, and what it makes of what networks and services do."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import polycopy_assets
from polycopy_assets.errors import ObjectExists, ObjectKept, ObjectLost, StoreError
from polycopy_assets.store import gcs as gcs_store
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.fakes.proxy import Fault, Proxy, proxy

UPLOAD = r"/upload/storage/v1/b/.*uploadType=multipart"


@pytest.fixture
def front(gcs: GCS) -> Iterator[Proxy]:
    with proxy(gcs.url) as running:
        yield running


@pytest.fixture
def store(gcs: GCS, front: Proxy, bucket: str) -> GCSStore:
    return GCSStore(gcs.client(front.url), bucket, "p", retry_seconds=20)


def test_a_segment_is_one_request_with_a_precondition_and_a_checksum(
    store: GCSStore, gcs: GCS, front: Proxy, bucket: str
):
    payload = bytes(8 * 2**20 - 4096)
    store.create("trades/0xa/1-2.jsonl.gz", payload, {"rows": "3", "source": "dome"})
    ((method, address),) = front.requests
    assert method == "POST"
    assert "uploadType=multipart" in address
    assert "ifGenerationMatch=0" in address
    blob = gcs.client().bucket(bucket).get_blob("p/trades/0xa/1-2.jsonl.gz")
    assert blob is not None
    assert blob.metadata == {
        "rows": "3",
        "source": "dome",
        "polycopy-version": polycopy_assets.__version__,
    }
    assert blob.content_type == "application/gzip"
    assert blob.content_encoding is None
    assert store.read("trades/0xa/1-2.jsonl.gz") == payload


@pytest.mark.parametrize("kind", [503, 429, 408, 500, 502, "reset_before", "reset_after"])
def test_what_passes_by_is_tried_again_and_writes_once(
    store: GCSStore, front: Proxy, kind: int | str
):
    front.faults.append(Fault("POST", UPLOAD, kind, times=2))
    store.create("a/b", b"bytes")
    assert store.read("a/b") == b"bytes"
    assert [item.name for item in store.list("a/")] == ["a/b"]
    assert front.faults[0].times == 0 or kind == "reset_after"
    front.faults.append(Fault("GET", "a%2Fb|prefix", kind, times=2))
    assert store.read("a/b") == b"bytes"
    assert [item.name for item in store.list("a/")] == ["a/b"]


def test_a_lost_answer_is_told_from_another_writer(store: GCSStore, front: Proxy):
    front.faults.append(Fault("POST", UPLOAD, "reset_after"))
    store.create("a/b", b"ours")
    uploads = [address for method, address in front.requests if method == "POST"]
    assert len(uploads) == 2, "the first answer was lost, the second was a 412"
    front.faults.append(Fault("POST", UPLOAD, 412))
    with pytest.raises(ObjectExists, match="a/b"):
        store.create("a/b", b"theirs")
    assert store.read("a/b") == b"ours"


def test_a_412_for_a_name_that_then_is_not_there_is_no_success(store: GCSStore, front: Proxy):
    front.faults.append(Fault("POST", UPLOAD, 412))
    with pytest.raises(ObjectLost):
        store.create("a/b", b"bytes")


@pytest.mark.parametrize("kind", [503, "reset_before"])
def test_retries_have_an_end_and_a_failed_read_is_not_an_empty_answer(
    gcs: GCS, front: Proxy, bucket: str, kind: int | str
):
    store = GCSStore(gcs.client(front.url), bucket, retry_seconds=2)
    front.faults.append(Fault("GET", "", kind, times=10**6))
    front.faults.append(Fault("POST", "", kind, times=10**6))
    for what in (
        lambda: list(store.list("a/")),
        lambda: store.read("a/b"),
        lambda: store.create("a/b", b""),
        store.check_writable,
    ):
        with pytest.raises(StoreError, match=r"gs://") as error:
            what()
        assert not isinstance(error.value, ObjectExists | ObjectLost)
        assert "\n" not in str(error.value)
        # Tried again, with longer and longer waits, and given up although the fault has no end.
        tried, front.requests = len(front.requests), []
        assert 1 < tried <= 10


def test_a_refusal_is_told_at_once_with_googles_own_words(store: GCSStore, front: Proxy):
    words = "polycopy-run does not have storage.objects.create access"
    front.faults.append(
        Fault("POST", UPLOAD, 403, body=json.dumps({"error": {"message": words}}).encode())
    )
    with pytest.raises(StoreError, match=f"403 .*{words}"):
        store.create("a/b", b"")
    assert len(front.requests) == 1


def test_an_object_that_is_held_says_nothing_of_others(store: GCSStore, front: Proxy):
    words = "Object 'p/a/b' is subject to bucket's retention policy"
    store.create("a/b", b"")
    body = json.dumps({"error": {"message": words}}).encode()
    front.faults.append(Fault("DELETE", "a%2Fb", 403, body=body))
    with pytest.raises(ObjectKept, match=f"cannot delete gs://.*/a/b: 403 .*{words}"):
        store.delete("a/b")
    front.faults.append(Fault("DELETE", "a%2Fb", 400, body=body))
    with pytest.raises(StoreError) as error:
        store.delete("a/b")
    assert not isinstance(error.value, ObjectKept)


@pytest.mark.parametrize(
    "refusal",
    [
        (
            429,
            "rateLimitExceeded",
            "The object exceeded the rate limit for object mutation operations",
            "one write per second to an object",
        ),
        (403, "quotaExceeded", "Some new quota exceeded for the project", "a quota of the project"),
    ],
)
def test_a_quota_that_is_used_up_says_which_and_when_to_come_back(
    gcs: GCS, front: Proxy, bucket: str, refusal: tuple[int, str, str, str]
):
    status, reason, words, limit = refusal
    body = json.dumps({"error": {"errors": [{"reason": reason, "message": words}]}}).encode()
    front.faults.append(Fault("POST", UPLOAD, status, times=10**6, body=body))
    store = GCSStore(gcs.client(front.url), bucket, retry_seconds=1)
    with pytest.raises(StoreError, match=rf"{status} used up: {limit}; try again after 2.*{words}"):
        store.create("a/b", b"")
    front.faults.clear()
    store.create("a/b", b"")


def test_a_bucket_that_is_not_there_is_an_error_and_not_an_empty_store(gcs: GCS):
    store = GCSStore(gcs.client(), "no-such-bucket", retry_seconds=2)
    for what in (lambda: list(store.list("a/")), store.check_writable):
        with pytest.raises(StoreError, match=r"gs://no-such-bucket.*404") as error:
            what()
        assert not isinstance(error.value, ObjectLost)


def test_a_listing_is_read_page_by_page_and_only_names_and_sizes(
    store: GCSStore, front: Proxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gcs_store, "PAGE", 3)
    for number in range(8):
        store.create(f"t/{number}", b"x")
    front.requests.clear()
    assert len(list(store.list("t/"))) == 8
    assert len(front.requests) == 3
    assert all("fields=items" in address for _, address in front.requests)
    front.faults.append(Fault("GET", "pageToken", 503))
    assert len(list(store.list("t/"))) == 8


def test_a_large_part_is_streamed_and_survives_a_broken_transfer(
    store: GCSStore, front: Proxy, tmp_path: Path
):
    content = bytes(range(256)) * 36_000
    (tmp_path / "part").write_bytes(content)
    front.faults.append(Fault("PUT", "upload_id", 503))
    front.faults.append(Fault("POST", "uploadType=resumable", "reset_after"))
    store.create_from("p/1", tmp_path / "part")
    assert store.read("p/1") == content
    assert len(front.injected) == 2


def test_a_store_of_another_version_is_refused(store: GCSStore, gcs: GCS, bucket: str):
    gcs.client().bucket(bucket).blob("p/polycopy-store.json").upload_from_string('{"format": 2}')
    with pytest.raises(StoreError, match="another version"):
        store.check_writable()
