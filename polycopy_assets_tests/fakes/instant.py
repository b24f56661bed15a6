"""A source that answers at once, in a process of its own: rows that were rendered before.

Each wallet has the same rows, newest first, two a second. It counts how often it served each.
"""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from hashlib import sha256
from multiprocessing.connection import Connection
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

PAGE = 1000
_ADDRESS = b"0x" + b"w" * 40
_AGO = 100_000
"""Seconds between the newest row and now: all rows lie before any horizon."""


class Served(NamedTuple):
    """Rows served so far, and how many of them had been served before."""

    rows: int
    again: int


class Instant:
    """The address of the server, and what it has served."""

    def __init__(self, url: str) -> None:
        self.url = url

    def served(self) -> Served:
        """What it has served until now."""
        with urlopen(f"{self.url}/served") as answer:
            return Served(**json.load(answer))


@contextmanager
def instant(rows: int) -> Iterator[Instant]:
    """Serves wallets of so many rows each."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(rows, theirs))
    process.start()
    try:
        yield Instant(ours.recv())
    finally:
        process.kill()
        process.join()


class _Pages:
    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._newest = int(time.time()) - _AGO
        each = [_row(number, self._newest - number // 2) for number in range(rows)]
        self._width = len(each[0])
        assert {len(row) for row in each} == {self._width}
        self._all = b"".join(each)
        self._seen: dict[str, bytearray] = {}
        self._served = Served(0, 0)

    def page(self, asked: Mapping[str, str]) -> bytes:
        newest, oldest = int(asked["end"]), int(asked["start"])
        first = int(asked.get("cursor") or 2 * max(self._newest - newest, 0))
        until = min(self._rows, 2 * max(self._newest - oldest + 1, 0))
        end = max(first, min(first + PAGE, until))
        seen = self._seen.setdefault(asked["user"], bytearray(self._rows))
        again = seen.count(1, first, end)
        seen[first:end] = b"\1" * (end - first)
        self._served = Served(self._served.rows + end - first, self._served.again + again)
        rows = self._all[first * self._width : end * self._width].removesuffix(b",")
        pagination: dict[str, object] = {"has_more": end < until}
        if end < until:
            pagination["next_cursor"] = str(end)
        return b'{"data":[%s],"pagination":%s}' % (
            rows.replace(_ADDRESS, asked["user"].encode()),
            json.dumps(pagination).encode(),
        )

    def served(self) -> bytes:
        return json.dumps(self._served._asdict()).encode()


def _row(number: int, second: int) -> bytes:
    digest = sha256(str(number).encode()).hexdigest()
    return (
        b'{"proxy_wallet":"%s","side":"BUY","token_id":"%d","condition_id":"0x%s","size":%d,'
        b'"price":0.%d,"timestamp":%d,"title":"Will it rain on day %d?","slug":"rain-%d",'
        b'"outcome":"Yes","outcome_index":0,"transaction_hash":"0x%s"},'
    ) % (
        _ADDRESS,
        10**76 + number % 97,
        sha256(str(number % 97).encode()).hexdigest().encode(),
        1000 + number % 8999,
        100 + number % 899,
        second,
        100 + number % 97,
        100 + number % 97,
        digest.encode(),
    )


_STATUS = json.dumps(
    {
        "data": {
            "serving": {"lag_seconds": 1, "mechanisms": {"activity_feed": {"age_seconds": 1}}},
            "age_seconds": 1,
        }
    }
).encode()


class _Connection(asyncio.Protocol):
    def __init__(self, pages: _Pages) -> None:
        self._pages = pages
        self._heard = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while b"\r\n\r\n" in self._heard:
            head, _, self._heard = self._heard.partition(b"\r\n\r\n")
            url = urlsplit(head.split()[1].decode())
            asked = {name: values[0] for name, values in parse_qs(url.query).items()}
            match url.path:
                case "/served":
                    body = self._pages.served()
                case "/v2/status":
                    body = _STATUS
                case _:
                    body = self._pages.page(asked)
            date = formatdate(usegmt=True).encode()
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Length: %d\r\n\r\n%s"
                % (date, len(body), body)
            )


def _serve(rows: int, ready: Connection) -> None:
    async def run() -> None:
        pages = _Pages(rows)
        listening = await asyncio.get_running_loop().create_server(
            lambda: _Connection(pages), "127.0.0.1", 0
        )
        ready.send(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        await listening.serve_forever()

    asyncio.run(run())
