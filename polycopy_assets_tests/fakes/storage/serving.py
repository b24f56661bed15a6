"""The double on a port of loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from polycopy_assets_tests.fakes.answering import Answer, answering, error
from polycopy_assets_tests.fakes.storage.model import Refused
from polycopy_assets_tests.fakes.storage.server import Storage


def client_of(running: Storage) -> storage.Client:
    """Google's own client on the double."""
    return storage.Client(
        project="test",
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": running.url},
    )


@contextmanager
def storage_double() -> Iterator[Storage]:
    """The double on a free port of loopback."""
    running = Storage()

    def answer(method: str, path: str, headers: Message, content: bytes) -> Answer:
        try:
            return running.answer(method, path, headers, content)
        except Refused as refused:
            return error(refused.status, refused.reason, refused.message)

    with answering(answer) as running.url:
        yield running
