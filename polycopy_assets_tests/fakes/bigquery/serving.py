"""The double on a port of loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one piece, or each answer waits 40 ms for an ACK

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            double.requests.append((self.command, self.path))
            try:
                status = 200
                headers = dict(self.headers.items())
                body = json.loads(content) if content else {}
                answer = double.answer(self.command, self.path, headers, body)
            except JobError as error:
                status = _STATUS.get(error.reason, 400)
                shown = {"reason": error.reason, "message": error.message, "domain": "global"}
                answer = {"error": {"code": status, "message": error.message, "errors": [shown]}}
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(204 if answer is None else status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hung up is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
