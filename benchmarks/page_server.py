"""Serves rendered pages as Polymarket's Data API v2 does, in a process of its own.

    python -m benchmarks.page_server '{"kind": "many", "wallets": 500, ...}'

Prints its URL when it is ready. Written for throughput: no framework, nothing is encoded for a
request, and a page leaves as a slice of what was rendered before. `/bench/…` looks at the counters
and sets the lag of the feed.
"""

import asyncio
import contextlib
import sys
import time
from email.utils import formatdate
from typing import cast
from urllib.parse import parse_qsl

import msgspec

from benchmarks.pages import Wallet, World, render
from polycopy_assets.demo.freshness import Freshness

LIMIT = 1000
DAY = 86_400
_END = b"\r\n\r\n"


class Counts(msgspec.Struct):
    """What was served: requests of all kinds, pages of trades, rows; epoch seconds of two pages."""

    requests: int = 0
    pages: int = 0
    rows: int = 0
    first_page: float = 0.0
    last_page: float = 0.0
    rows_by_wallet: dict[str, int] = {}


class Api:
    """The wallets, the lag of their feed in seconds, and the counters."""

    def __init__(self, wallets: dict[str, Wallet]) -> None:
        self._wallets = wallets
        self._lag = 0
        self._counts = Counts()
        self._date = (0, b"")

    def answer(self, target: str) -> tuple[int, list[bytes | memoryview]]:
        """Status and body of the answer to `GET target`, in pieces."""
        path, _, query = target.partition("?")
        params = dict(parse_qsl(query))
        if path.startswith("/bench/"):
            return self._steer(path, params)
        self._counts.requests += 1
        try:
            if path == "/v2/trades":
                return 200, self._trades(params)
            if path == "/v2/status":
                data = Freshness(lag=self._lag).data(time.time())
                return 200, [msgspec.json.encode({"data": data})]
            if path == "/v2/user-volume":
                return 200, [msgspec.json.encode({"data": self._volume(params)})]
        except (KeyError, ValueError) as error:
            body = {"error": repr(error), "code": "invalid_request", "retryable": False}
            return 400, [msgspec.json.encode(body)]
        return 404, [b'{"error":"no such route","code":"not_found","retryable":false}']

    def date(self) -> bytes:
        """The header `Date`, made once a second."""
        second = int(time.time())
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True).encode())
        return self._date[1]

    def _trades(self, params: dict[str, str]) -> list[bytes | memoryview]:
        """A page; by default, as the API does it, makers' fills and old trades are left out."""
        limit = int(params.get("limit", 100))
        if params.get("taker_only") != "false" or int(params["start"]) < 1 or limit > LIMIT:
            raise ValueError("this server has full histories only, at most 1,000 rows a page")
        address, now = params["user"].lower(), time.time()
        wallet = self._wallets.get(address)
        end = min(int(params.get("end") or 2**40), int(now) - self._lag)
        cursor = params.get("cursor")
        page = wallet.page(int(params["start"]), end, cursor, limit) if wallet else None
        count, following = (page.number, page.cursor) if page else (0, None)
        counts = self._counts
        counts.pages += 1
        counts.rows += count
        counts.rows_by_wallet[address] = counts.rows_by_wallet.get(address, 0) + count
        counts.first_page = counts.first_page or now
        counts.last_page = now
        tail = (
            b'],"pagination":{"limit":%d,"offset":0,"has_more":true,"next_cursor":"%s"}}'
            % (limit, following.encode())
            if following
            else b'],"pagination":{"limit":%d,"offset":0,"has_more":false,"next_cursor":null}}'
            % limit
        )
        return [b'{"data":[', page.rows if page else b"", tail]

    def _volume(self, params: dict[str, str]) -> dict[str, float]:
        """The count of whole days; nobody here asks for the volume."""
        wallet = self._wallets.get(params["user"].lower())
        start, end = int(params["start"]) // DAY * DAY, (int(params["end"]) // DAY + 1) * DAY - 1
        count = wallet.count(start, end) if wallet else 0
        return {"volume": 0.0, "volume_usdc": 0.0, "trade_count": count}

    def _steer(self, path: str, params: dict[str, str]) -> tuple[int, list[bytes | memoryview]]:
        if path == "/bench/wallets":
            sizes = {address: len(wallet) for address, wallet in self._wallets.items()}
            return 200, [msgspec.json.encode(sizes)]
        if path == "/bench/transactions":
            return 200, [b"%d" % sum(each.transactions for each in self._wallets.values())]
        if path == "/bench/reset":
            self._counts = Counts()
        if path == "/bench/lag":
            self._lag = int(params["seconds"])
        return 200, [msgspec.json.encode(self._counts)]


class Connection(asyncio.Protocol):
    """One keep-alive connection; only `GET` without a body is understood."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answers every request that is complete."""
        self._read += data
        while (until := self._read.find(_END)) >= 0:
            head, self._read = self._read[:until], self._read[until + len(_END) :]
            self._respond(head)

    def _respond(self, head: bytes) -> None:
        assert self._transport is not None
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ")
        status, body = (
            self._api.answer(target.decode()) if method == b"GET" else (405, [b"only GET"])
        )
        start = (
            b"HTTP/1.1 %d %s\r\ndate: %s\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n"
            % (status, b"OK" if status == 200 else b"Error", self._api.date(), sum(map(len, body)))
        )
        self._transport.writelines([start, *body])
        if b"connection: close" in head.lower():
            self._transport.close()


async def serve(wallets: dict[str, Wallet]) -> None:
    """Serves on a free port of this machine until the process is ended."""
    loop, api = asyncio.get_running_loop(), Api(wallets)
    server = await loop.create_server(lambda: Connection(api), "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Renders the world that the argument describes, and serves it."""
    world = msgspec.json.decode(sys.argv[1], type=World)
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - if it is there, which it is beside Dagster's web server

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    wallets = render(world)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(wallets))


if __name__ == "__main__":
    main()
