"""The double on a port of loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from polycopy_assets_tests.fakes.storage.model import Refused
from polycopy_assets_tests.fakes.storage.server import Answer, Storage


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

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one piece, or each answer waits 40 ms for an ACK

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            try:
                answer = running.answer(self.command, self.path, self.headers, content)
            except Refused as error:
                item = {"domain": "global", "reason": error.reason, "message": error.message}
                body = {"error": {"code": error.status, "message": error.message, "errors": [item]}}
                headers = {"Content-Type": "application/json"}
                answer = Answer(error.status, headers, json.dumps(body).encode())
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hung up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    running.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
