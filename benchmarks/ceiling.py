"""How much the page server can serve: a client that asks for pages and throws them away.

    python -m benchmarks.ceiling URL SECONDS CONNECTIONS

Raw sockets, so that the client costs as little as possible. Prints JSON: pages, rows and bytes a
second. Nothing that reads from this server can be faster than that on this machine.
"""

import asyncio
import sys
import time
import urllib.request
from itertools import cycle

import msgspec


def sizes_at(url: str) -> dict[str, int]:
    """The number of trades of each wallet."""
    with urllib.request.urlopen(f"{url}/bench/wallets") as answer:
        return msgspec.json.decode(answer.read())


async def main(url: str, sizes: dict[str, int], seconds: float, connections: int) -> None:
    """Measures and prints."""
    host, port = url.removeprefix("http://").split(":")
    wallets = cycle(sorted(sizes, key=lambda wallet: -sizes[wallet])[:50])
    until = time.perf_counter() + seconds
    pages = size = rows = 0

    async def client() -> None:
        nonlocal pages, size, rows
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**21)
        while time.perf_counter() < until:
            wallet = next(wallets)
            target = f"/v2/trades?user={wallet}&limit=1000&taker_only=false&start=1"
            writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            pages, size, rows = pages + 1, size + length, rows + min(sizes[wallet], 1000)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    took = time.perf_counter() - started
    print(msgspec.json.encode([pages / took, rows / took, size / took]).decode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sizes_at(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
