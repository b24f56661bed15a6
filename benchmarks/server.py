"""The page server as a bench uses it: started, asked, steered, and ended by its process id."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from benchmarks.page_server import Counts
from benchmarks.pages import World
from benchmarks.processes import ROOT

CEILING_CONNECTIONS = 8


class PageServer:
    """A running page server at `url`, with the number of trades of each wallet."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sizes: dict[str, int] = msgspec.json.decode(self.get("/bench/wallets"))

    @property
    def wallets(self) -> list[str]:
        """All addresses."""
        return list(self.sizes)

    @property
    def trades(self) -> int:
        """All trades."""
        return sum(self.sizes.values())

    def counts(self) -> Counts:
        """What was served since the start, or the last reset."""
        return msgspec.json.decode(self.get("/bench/counts"), type=Counts)

    def transactions(self) -> int:
        """The number of transactions that the trades belong to."""
        return int(self.get("/bench/transactions"))

    def reset(self) -> None:
        """Sets the counters to zero."""
        self.get("/bench/reset")

    def set_lag(self, seconds: int) -> None:
        """Newer trades than that are not in the feed yet: so time passes without a clock."""
        self.get(f"/bench/lag?seconds={seconds}")

    def ceiling(self, seconds: float) -> str:
        """Measures, in a process of its own, what this server can serve; in words."""
        said = subprocess.run(
            [
                *(sys.executable, "-m", "benchmarks.ceiling"),
                *(self.url, str(seconds), str(CEILING_CONNECTIONS)),
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        self.reset()
        pages, rows, size = msgspec.json.decode(said, type=tuple[float, float, float])
        return (
            f"the page server alone: {pages:,.0f} pages, {rows:,.0f} rows, {size / 1e6:,.0f} MB"
            " a second"
        )

    def get(self, target: str) -> bytes:
        """The body of the answer to `GET target`."""
        with urllib.request.urlopen(f"{self.url}{target}", timeout=60) as answer:
            return answer.read()


@contextmanager
def serving(world: World, *, ceiling: float = 0.0) -> Iterator[PageServer]:
    """A page server over `world` while the context lasts.

    With `ceiling`, that many seconds are spent to measure and print what it can serve.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.page_server", msgspec.json.encode(world).decode()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("the page server did not start")
        server = PageServer(url)
        if ceiling:
            print(server.ceiling(ceiling), flush=True)
        yield server
    finally:
        process.kill()
        process.wait()
