"""A server on loopback whose answers a function gives: what doubles of services have in common."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Answer(NamedTuple):
    """A status, headers and the content."""

    status: int
    headers: Mapping[str, str]
    content: bytes


def error(status: int, reason: str, message: str) -> Answer:
    """An error as Google's services write it."""
    item = {"domain": "global", "reason": reason, "message": message}
    body = {"error": {"code": status, "message": message, "errors": [item]}}
    return Answer(status, {"content-type": "application/json"}, json.dumps(body).encode())


class Refused(Exception):
    """An error that a double of an API answers with: a status, and what it says."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hung up is no news."""


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server on a free port of loopback, for as long as the context lasts."""
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def answering(answer: Callable[[str, str, Message, bytes], Answer]) -> Iterator[str]:
    """The URL of a server that answers with `answer(method, path, headers, content)`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one piece, or each answer waits 40 ms for an ACK

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            given = answer(self.command, self.path, self.headers, content)
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(given.content)))
            self.end_headers()
            self.wfile.write(given.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    with listening(Handler) as url:
        yield url


def answering_json(serve: Callable[[str, str, bytes], object]) -> AbstractContextManager[str]:
    """The same with what `serve(method, path, content)` returns, as JSON; it may raise Refused."""

    def answer(method: str, path: str, _headers: Message, content: bytes) -> Answer:
        try:
            given = serve(method, path, content)
        except Refused as refused:
            return error(refused.status, "refused", str(refused))
        return Answer(200, {"content-type": "application/json"}, json.dumps(given).encode())

    return answering(answer)
