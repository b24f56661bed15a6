"""A Google Cloud Storage bucket as a store: for production.

An object goes up whole, in one request with its checksum and `ifGenerationMatch=0`, so it appears
once or not at all. A writer that gets a 412 reads what is there and continues from that.
"""

import base64
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import requests
from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

from polycopy_assets.errors import ObjectExists, ObjectKept, ObjectLost, StoreError
from polycopy_assets.store.base import NO_METADATA, Stored
from polycopy_assets.store.bucket import FIELDS, REQUESTER_PAYS, wrong_with
from polycopy_assets.system.google_quota import explain
from polycopy_assets.system.version import VERSION
from polycopy_assets.text import one_line, quoted, said_by

RETRY_SECONDS = 120.0
TIMEOUT_SECONDS = 60
PAGE = 1000
MARKER = "polycopy-store.json"
_MARKER_BYTES = b'{"format": 1}\n'
_CONNECTIONS = 64
_LOG = logging.getLogger(__name__)
_FAILURES = (
    exceptions.GoogleAPIError,
    GoogleAuthError,
    DataCorruption,
    InvalidResponse,
    requests.RequestException,
)


class GCSStore:
    """Objects below `prefix` in one bucket; see `store.base.Store`.

    Every call is retried on transport errors, 408, 429 and 5xx for at most `retry_seconds`.
    """

    def __init__(
        self,
        client: storage.Client,
        bucket: str,
        prefix: str = "",
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._client = client
        self._bucket = client.bucket(bucket)
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._seen: Mapping[str, Any] | None = None
        self._retry: Retry = DEFAULT_RETRY.with_timeout(retry_seconds)
        pool = HTTPAdapter(pool_maxsize=_CONNECTIONS)
        # The client offers no other way to do either. Its cache of bucket metadata is for tracing:
        # it sends background requests that polycopy has no permission for, and is useless here.
        client._http.mount("https://", pool)  # noqa: SLF001
        client._http.mount("http://", pool)  # noqa: SLF001
        setattr(client, "_bucket_metadata_cache", None)  # noqa: B010

    def uri(self, name: str) -> str:
        """`gs://bucket/prefix/name`."""
        return f"gs://{self._bucket.name}/{self._prefix}{name}"

    def list(self, prefix: str) -> Iterator[Stored]:
        """All objects whose names start with `prefix`, sorted by name, page by page."""
        with self._failing(f"cannot list {self.uri(prefix)}"):
            for blob in self._client.list_blobs(
                self._bucket,
                prefix=self._prefix + prefix,
                page_size=PAGE,
                fields="items(name,size,crc32c),nextPageToken",
                retry=self._retry,
                timeout=TIMEOUT_SECONDS,
            ):
                name = blob.name.removeprefix(self._prefix)
                yield Stored(name, int(blob.size), _hex(blob.crc32c))

    def left_out(self, prefix: str) -> Iterator[tuple[str, str]]:  # noqa: ARG002 - a bucket has none
        """Nothing: a bucket holds only objects."""
        return iter(())

    def read(self, name: str) -> bytes:
        """The object's bytes, checked against its checksum; raises ObjectLost if it is gone."""
        with self._failing(f"cannot read {self.uri(name)}", name):
            return self._blob(name).download_as_bytes(retry=self._retry, timeout=TIMEOUT_SECONDS)

    def create(self, name: str, data: bytes, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """Creates the object in one request; raises ObjectExists if the name has other bytes."""
        try:
            with self._failing(f"cannot write {self.uri(name)}"):
                self._blob(name, metadata).upload_from_string(
                    data,
                    content_type=_content_type(name),
                    if_generation_match=0,
                    checksum="crc32c",
                    retry=self._retry,
                    timeout=TIMEOUT_SECONDS,
                )
        except exceptions.PreconditionFailed as error:
            if self.read(name) != data:
                raise ObjectExists(self.uri(name), "exists already") from error

    def create_from(self, name: str, path: Path, metadata: Mapping[str, str] = NO_METADATA) -> None:
        """The same with a local file's content, streamed."""
        try:
            with self._failing(f"cannot write {self.uri(name)}"):
                self._blob(name, metadata).upload_from_filename(
                    str(path),
                    content_type=_content_type(name),
                    if_generation_match=0,
                    checksum="crc32c",
                    retry=self._retry,
                    timeout=TIMEOUT_SECONDS,
                )
        except exceptions.PreconditionFailed as error:
            if not self._holds(name, path):
                raise ObjectExists(self.uri(name), "exists already") from error

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """The object as a temporary file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name.rsplit("/", 1)[-1]
            with self._failing(f"cannot read {self.uri(name)}", name):
                self._blob(name).download_to_filename(
                    str(path), retry=self._retry, timeout=TIMEOUT_SECONDS
                )
            yield path

    def delete(self, name: str) -> None:
        """Deletes the object; no error if it is gone. Raises ObjectKept if not permitted."""
        try:
            with self._failing(f"cannot delete {self.uri(name)}", name):
                self._blob(name).delete(retry=self._retry, timeout=TIMEOUT_SECONDS)
        except ObjectLost:
            return
        except StoreError as error:
            if isinstance(error.__cause__, exceptions.Forbidden):
                raise ObjectKept(str(error)) from error.__cause__
            raise

    def place(self) -> tuple[str, str] | None:
        """The bucket's location and `locationType`; looks at the bucket unless that was done."""
        bucket = self._checked() if self._seen is None else self._seen
        if "location" not in bucket:
            return None
        return str(bucket["location"]), str(bucket.get("locationType", ""))

    def check_writable(self) -> None:
        """Raises StoreError unless the store's marker is there or can be created, and read.

        Also if the bucket would delete objects, or keep them for ever; see `store.bucket`.
        """
        self._checked()
        try:
            self.create(MARKER, _MARKER_BYTES)
        except ObjectExists as error:
            raise StoreError(f"{self.uri(MARKER)} is of another version of the store") from error
        next(self.list(MARKER), None)

    def _checked(self) -> Mapping[str, Any]:
        """The bucket's own settings as they are now; raises StoreError if they are wrong."""
        bucket = self._settings()
        wrong = wrong_with(bucket, self._prefix)
        if wrong:
            raise StoreError(f"bucket gs://{self._bucket.name} {wrong}")
        self._seen = bucket
        return bucket

    def _settings(self) -> Mapping[str, Any]:
        """The bucket's own settings; empty, and a warning, if we may not see them."""
        try:
            with self._failing(f"cannot look at bucket gs://{self._bucket.name}"):
                # `get_bucket` cannot ask for some fields only, and some need other rights.
                found: Mapping[str, Any] = self._client._get_resource(  # noqa: SLF001
                    self._bucket.path,
                    query_params={"projection": "noAcl", "fields": FIELDS},
                    retry=self._retry,
                    timeout=TIMEOUT_SECONDS,
                )
        except StoreError as error:
            if not isinstance(error.__cause__, exceptions.Forbidden):
                raise
            _LOG.warning(
                "The settings of gs://%s are not checked, for lack of storage.buckets.get: rules"
                " that delete objects would not be noticed. Google says: %s",
                self._bucket.name,
                _reason(error.__cause__),
            )
            return {}
        return found

    def _blob(self, name: str, metadata: Mapping[str, str] = NO_METADATA) -> storage.Blob:
        if "\0" in name or any(part in {"", ".", ".."} for part in name.split("/")):
            raise StoreError(f"not an object name: {quoted(name)}")
        blob = self._bucket.blob(self._prefix + name)
        blob.metadata = {"polycopy-version": VERSION, **metadata}
        return blob

    def _holds(self, name: str, path: Path) -> bool:
        """Whether the object has the file's bytes, by size and checksum."""
        checksum = google_crc32c.Checksum()
        with path.open("rb") as file:
            for _ in checksum.consume(file, 1 << 20):
                pass
        with self._failing(f"cannot read {self.uri(name)}", name):
            blob = self._bucket.get_blob(
                self._prefix + name, retry=self._retry, timeout=TIMEOUT_SECONDS
            )
        return (
            blob is not None
            and blob.size == path.stat().st_size
            and blob.crc32c == _base64(checksum.digest())
        )

    @contextmanager
    def _failing(self, what: str, name: str | None = None) -> Iterator[None]:
        """Turns Google's exceptions into ours; a 404 is ObjectLost where `name` is an object."""
        try:
            yield
        except exceptions.PreconditionFailed:
            raise
        except exceptions.NotFound as error:
            if name is None or "bucket does not exist" in str(error):
                raise StoreError(f"{what}: {_reason(error)}") from error
            raise ObjectLost(name, f"is not in gs://{self._bucket.name}") from error
        except _FAILURES as error:
            said = _reason(error)
            # Whoever is not the bucket's owner may not even see the setting that is wrong.
            if "requester pays" in said:
                said = f"gs://{self._bucket.name} {REQUESTER_PAYS}. Google says: {said}"
            raise StoreError(f"{what}: {said}") from error


def _content_type(name: str) -> str:
    kinds = {"gz": "application/gzip", "json": "application/json"}
    return kinds.get(name.rsplit(".", 1)[-1], "application/octet-stream")


def _reason(error: BaseException) -> str:
    """What Google said, in one line, without the request's address."""
    if isinstance(error, exceptions.RetryError) and error.cause is not None:
        return f"all retries failed, last: {_reason(error.cause)}"
    if isinstance(error, InvalidResponse):
        return _reason(exceptions.from_http_response(error.response))
    if isinstance(error, exceptions.GoogleAPICallError):
        if not error.errors and isinstance(error.response, requests.Response):
            error = exceptions.from_http_response(error.response)  # of an upload it is not read
        first = error.errors[0] if error.errors and isinstance(error.errors[0], dict) else {}
        message = one_line(first.get("message") or error.message)
        used_up = explain(str(first.get("reason", "")), message)
        return f"{error.code} {f'{used_up}. Google says: ' if used_up else ''}{message}"
    return f"{type(error).__name__}: {said_by(error)}"


def _hex(checksum: str | None) -> str | None:
    """Google's checksum as records carry it."""
    return base64.b64decode(checksum).hex() if checksum else None


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
