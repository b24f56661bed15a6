"""Kubernetes' API as far as a run launcher calls it: keeps each Job that it is sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


class Cluster:
    """The Jobs that were created, by namespace, and the file with which clients find it."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.jobs: list[tuple[str, dict[str, Any]]] = []


@contextmanager
def cluster(root: Path) -> Iterator[Cluster]:
    """A cluster on loopback; its kubeconfig lies in `root`."""
    found = Cluster(root / "kubeconfig")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            parts = self.path.partition("?")[0].strip("/").split("/")
            known = parts[:3] == ["apis", "batch", "v1"] and parts[5:] == ["jobs"]
            if known:
                found.jobs.append((parts[4], body))
            answer = json.dumps(body if known else {"kind": "Status", "code": 404}).encode()
            self.send_response(201 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.kubeconfig.write_text(_kubeconfig(f"http://127.0.0.1:{server.server_port}"))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield found
        finally:
            server.shutdown()


def _kubeconfig(url: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
            "current-context": "here",
        }
    )
