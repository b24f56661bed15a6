"""A proxy that does to requests what networks and overloaded services do."""

import http.client
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from polycopy_assets_tests.fakes.answering import listening

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass
class Fault:
    """What happens to the next `times` requests of `method` whose address matches `address`.

    `content`, if given, has to be found in the request's body.

    `kind` is a status that is answered without forwarding, or `reset_before` (the connection
    ends, nothing was done), or `reset_after` (it was done, and the answer is lost).
    """

    method: str
    address: str
    kind: int | str
    times: int = 1
    content: str = ""
    body: bytes = b'{"error": {"code": 0, "message": "injected"}}'


@dataclass
class Proxy:
    """A running proxy: its `url`, the faults to come, and what passed through."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    injected: list[tuple[str, str, int | str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, method: str, address: str, body: bytes) -> Fault | None:
        """Notes a request, and the fault that is due for it."""
        with self.lock:
            self.requests.append((method, address))
            for fault in self.faults:
                if (
                    fault.times
                    and fault.method == method
                    and re.search(fault.address, address)
                    and re.search(fault.content.encode(), body)
                ):
                    fault.times -= 1
                    self.injected.append((method, address, fault.kind))
                    return fault
        return None


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy on loopback in front of the server at `target`."""
    to = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            fault = running.take(self.command, self.path, body)
            if fault is not None and fault.kind == "reset_before":
                self._reset()
                return
            if fault is not None and isinstance(fault.kind, int):
                self._answer(fault.kind, {"content-type": "application/json"}, fault.body)
                return
            connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=60)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if fault is not None:
                self._reset()
                return
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in HOP_BY_HOP}
            self._answer(answer.status, kept, content)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value.replace(target, running.url))
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    with listening(Handler) as url:
        running = Proxy(url)
        yield running
