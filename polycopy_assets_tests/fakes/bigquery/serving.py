"""The double on a port of loopback."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message

from polycopy_assets_tests.fakes.answering import Answer, answering, error
from polycopy_assets_tests.fakes.bigquery.model import JobError
from polycopy_assets_tests.fakes.bigquery.server import Double

_STATUS = {
    "notFound": 404,
    "duplicate": 409,
    "invalid": 400,
    "invalidQuery": 400,
    "conditionNotMet": 412,
    "backendError": 503,
    "quotaExceeded": 403,
    "rateLimitExceeded": 403,
    "accessDenied": 403,
    "bytesBilledLimitExceeded": 400,
}


@contextmanager
def bigquery_double(storage_url: str | None = None) -> Iterator[Double]:
    """The double on a free port of loopback; it reads gs:// from the server at `storage_url`."""
    double = Double(storage_url)

    def answer(method: str, path: str, headers: Message, content: bytes) -> Answer:
        double.requests.append((method, path))
        body = json.loads(content) if content else {}
        try:
            given = double.answer(method, path, dict(headers.items()), body)
        except JobError as refused:
            return error(_STATUS.get(refused.reason, 400), refused.reason, refused.message)
        kind = {"content-type": "application/json"}
        if given is None:
            return Answer(204, kind, b"")
        return Answer(200, kind, json.dumps(given).encode())

    with answering(answer) as double.url:
        yield double
