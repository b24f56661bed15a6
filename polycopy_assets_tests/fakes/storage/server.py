"""The double's JSON interface: what it answers to a request."""

import json
import re
import threading
import uuid
from collections.abc import Mapping
from datetime import timedelta
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from polycopy_assets_tests.fakes.answering import Answer
from polycopy_assets_tests.fakes.storage.model import Body, Bucket, Refused, Version, crc32c, utc
from polycopy_assets_tests.fakes.storage.passing_time import pass_time
from polycopy_assets_tests.google_apis import faults

UNFINISHED = 308


class Storage:
    """A running double: its `url`, its buckets, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.buckets: dict[str, Bucket] = {}
        self.requests: list[tuple[str, str]] = []
        self._later = timedelta()
        self._lock = threading.RLock()
        self._uploads: dict[str, tuple[Bucket, Body, int | None, bytes]] = {}

    def later(self, **by: float) -> None:
        """So much time passes, in the words of `timedelta`."""
        with self._lock:
            self._later += timedelta(**by)
            for bucket in self.buckets.values():
                pass_time(bucket)

    def answer(self, method: str, path: str, headers: Message, content: bytes) -> Answer:
        """Serves one request; raises Refused for what is answered with an error."""
        parts = urlsplit(path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        steps = [unquote(step) for step in parts.path.strip("/").split("/")]
        with self._lock:
            self.requests.append((method, path))
            kind = steps.pop(0) if steps[0] in {"upload", "download"} else ""
            match steps[2:]:
                case ["b"]:
                    return _shown(self._create(json.loads(content)))
                case ["b", name]:
                    return self._bucket(method, name, query, content)
                case ["b", name, "iam"]:
                    return _shown(_policy(self._found(name, query), method, content))
                case ["b", name, "o"] if kind == "upload":
                    return self._upload(method, self._found(name, query), query, headers, content)
                case ["b", name, "o"]:
                    return self._list(self._found(name, query), query)
                case ["b", name, "o", object_, *rest]:
                    bucket = self._found(name, query)
                    return self._object(method, bucket, object_, rest, query, content)
                case _:
                    raise Refused(400, "invalid", f"the double does not serve {method} {path}")

    # -- buckets --------------------------------------------------------------------------------

    def _create(self, body: Body) -> Body:
        if body["name"] in self.buckets:
            raise Refused(409, "conflict", "Your previous request to create the bucket succeeded.")
        made = Bucket(body["name"], body, lambda: utc() + self._later)
        self.buckets[made.name] = made
        return made.resource

    def _found(self, name: str, query: Mapping[str, str]) -> Bucket:
        found = self.buckets.get(name)
        if found is None:
            raise Refused(404, "notFound", "The specified bucket does not exist.")
        pays = found.resource.get("billing", {}).get("requesterPays") and not found.ours
        if pays and "userProject" not in query:
            raise Refused(
                400,
                "UserProjectMissing",
                "Bucket is a requester pays bucket but no user project provided.",
            )
        return found

    def _bucket(self, method: str, name: str, query: Mapping[str, str], content: bytes) -> Answer:
        bucket = self._found(name, query)
        if method == "PATCH":
            bucket.change(json.loads(content))
        elif method == "DELETE":
            if bucket.live or bucket.noncurrent:
                raise Refused(409, "conflict", "The bucket you tried to delete is not empty.")
            del self.buckets[name]
            return Answer(204, {}, b"")
        elif bucket.hidden:
            raise Refused(
                403,
                "forbidden",
                "polycopy-run does not have storage.buckets.get access to the Google Cloud Storage"
                " bucket.",
            )
        return _shown(bucket.resource)

    # -- objects --------------------------------------------------------------------------------

    def _list(self, bucket: Bucket, query: Mapping[str, str]) -> Answer:
        found = bucket.listed(
            query.get("prefix", ""),
            versions=query.get("versions", "").lower() == "true",
            soft=query.get("softDeleted", "").lower() == "true",
        )
        first = int(query.get("pageToken", 0))
        after = first + int(query.get("maxResults", 1000))
        body: Body = {"kind": "storage#objects"}
        if found[first:after]:
            body["items"] = [bucket.shown(each) for each in found[first:after]]
        if found[after:]:
            body["nextPageToken"] = str(after)
        return _shown(body)

    def _object(  # noqa: PLR0917 - the parts of a request
        self,
        method: str,
        bucket: Bucket,
        name: str,
        rest: list[str],
        query: Mapping[str, str],
        content: bytes,
    ) -> Answer:
        generation = int(query["generation"]) if "generation" in query else None
        if rest == ["restore"]:
            return _shown(bucket.shown(bucket.restore(name, generation or 0)))
        if method == "DELETE":
            bucket.delete(name, generation)
            return Answer(204, {}, b"")
        if method == "PATCH":
            found = bucket.find(name, generation)
            return _shown(bucket.shown(bucket.patch(found, json.loads(content))))
        if query.get("alt") == "media":
            return _served(bucket, bucket.read(name, generation))
        return _shown(bucket.shown(bucket.find(name, generation)))

    def _upload(
        self,
        method: str,
        bucket: Bucket,
        query: Mapping[str, str],
        headers: Message,
        content: bytes,
    ) -> Answer:
        unless = int(query["ifGenerationMatch"]) if "ifGenerationMatch" in query else None
        if method == "POST" and query["uploadType"] == "multipart":
            described, data = _parts(headers, content)
            made = bucket.write(str(described.pop("name")), data, described, unless)
            return _shown(bucket.shown(made))
        if method == "POST":
            upload = uuid.uuid4().hex
            self._uploads[upload] = (bucket, json.loads(content), unless, b"")
            bucket.uploads[upload] = bucket.now()
            where = f"{self.url}/upload/storage/v1/b/{bucket.name}/o?upload_id={upload}"
            return Answer(200, {"Location": where}, b"")
        return self._continue(query["upload_id"], headers, content)

    def _continue(self, upload: str, headers: Message, content: bytes) -> Answer:
        """One more piece of a resumable upload."""
        bucket, described, unless, before = self._uploads[upload]
        if upload not in bucket.uploads:
            raise Refused(404, "notFound", "No such upload.")
        data = before + content
        total = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+|\*)", str(headers["content-range"]))
        assert total is not None
        if total[1] == "*" or int(total[1]) > len(data):
            self._uploads[upload] = (bucket, described, unless, data)
            held = {"Range": f"bytes=0-{len(data) - 1}"} if data else {}
            return Answer(UNFINISHED, held, b"")
        made = bucket.write(str(described.pop("name")), data, described, unless)
        del self._uploads[upload], bucket.uploads[upload]
        return _shown(bucket.shown(made))


def _policy(bucket: Bucket, method: str, content: bytes) -> Body:
    """Who may do what in the bucket; a PUT replaces it."""
    if method == "PUT":
        policy = json.loads(content)
        if wrong := faults("storage.v1", "Policy", policy):
            raise Refused(400, "invalid", "; ".join(wrong))
        bucket.policy = policy
    return bucket.policy


def _parts(headers: Message, content: bytes) -> tuple[Body, bytes]:
    """The description and the content of an object that comes in one request."""
    boundary = str(headers.get_param("boundary")).encode()
    _, first, second, _ = content.split(b"--" + boundary)
    described, data = (part.split(b"\r\n\r\n", 1)[1] for part in (first, second))
    return json.loads(described), data.removesuffix(b"\r\n")


def _served(bucket: Bucket, found: Version) -> Answer:
    shown = bucket.shown(found)
    headers = {
        "Content-Type": str(shown.get("contentType", "application/octet-stream")),
        "X-Goog-Generation": shown["generation"],
        "X-Goog-Hash": f"crc32c={crc32c(found.data)},md5={shown['md5Hash']}",
        "X-Goog-Storage-Class": shown["storageClass"],
    }
    return Answer(200, headers, found.data)


def _shown(body: Any) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode())
