"""A forward proxy on loopback that wants a user and a password, and leads to one server only."""

import base64
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

USER, PASSWORD = "proxy-user", "not-to-be-seen-anywhere"
_EXPECTED = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass
class ForwardProxy:
    """A running proxy: where it is, and the addresses it was asked for.

    It takes no more requests after `ends_after` of them.
    """

    address: str
    asked: list[str] = field(default_factory=list)
    ends_after: float = float("inf")

    @property
    def url(self) -> str:
        """Its URL with user and password."""
        return f"http://{USER}:{PASSWORD}@{self.address}"


@contextmanager
def forward_proxy(target: str) -> Iterator[ForwardProxy]:
    """Forwards all plain requests to the server at `target`, whatever host they name."""
    to = urlsplit(target).netloc

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.asked.append(self.path)
            if len(running.asked) > running.ends_after:
                self._answer(407, b"")
                return
            if self.headers.get("Proxy-Authorization") != _EXPECTED:
                self._answer(407, b"")
                return
            asked = urlsplit(self.path)
            connection = http.client.HTTPConnection(to, timeout=30)
            connection.request("GET", f"{asked.path}?{asked.query}")
            answer = connection.getresponse()
            self._answer(answer.status, answer.read())
            connection.close()

        def do_CONNECT(self) -> None:
            running.asked.append(self.path)
            self._answer(502, b"")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = ForwardProxy(f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
