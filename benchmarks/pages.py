"""Trades of made-up wallets, rendered before they are served: a page is a slice of ready bytes.

The rows are like those of Data API v2: 19 fields, about 700 bytes of JSON, several fills in a
transaction. The trades of a wallet in one second are one transaction. The same `World` is the same
to the byte.
"""

import mmap
import random
import tempfile
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Literal, NamedTuple

import msgspec

DAY = 86_400
YEAR = 365 * DAY
MARKETS = 200
FILLS = (1, 1, 1, 2, 2, 4)
OLD_TRADES = 20
"""What a wallet of the world `days` has before its first day."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What to render: `trades` of `wallets` wallets, the newest before `until` (epoch seconds).

    `many`: wallets of different sizes, the largest with about 25 times the trades of the smallest.
    `tiny`: 1 to 5 trades each, whatever `trades` says. `whale`: the same number each. `days`: 20
    old trades each, and in the `days` days before `until`, 1 to 3 trades on every second day, half
    of the wallets on each.
    """

    kind: Literal["many", "tiny", "whale", "days"]
    wallets: int
    until: int
    trades: int = 0
    days: int = 0
    seed: int = 1

    def sizes(self) -> list[int]:
        """The number of trades of each wallet, but for the kind `days`."""
        if self.kind == "tiny":
            rng = random.Random(self.seed)
            return [rng.randint(1, 5) for _ in range(self.wallets)]
        weights = [1.0] * self.wallets
        if self.kind == "many":
            weights = [1 / (number + self.wallets / 25) for number in range(self.wallets)]
        scale = self.trades / sum(weights)
        sizes = [int(weight * scale) for weight in weights]
        sizes[0] += self.trades - sum(sizes)
        return sizes


class Page(NamedTuple):
    """Rows as served, without brackets; how many; and the cursor to the next page, if any."""

    rows: memoryview
    number: int
    cursor: str | None


class Wallet:
    """One wallet's rows in `data`, newest first: row i is data[ends[i] : ends[i + 1] - 1]."""

    def __init__(self, data: memoryview, ends: Sequence[int], negated: Sequence[int]) -> None:
        self._data = data
        self._ends = ends
        self._negated = negated  # the timestamps, negated: newest first is ascending

    def __len__(self) -> int:
        return len(self._negated)

    @property
    def transactions(self) -> int:
        """How many transactions its trades are."""
        return len(set(self._negated))

    def page(self, start: int, end: int, cursor: str | None, limit: int) -> Page:
        """The next page of the trades with start <= timestamp <= end, newest first.

        A cursor is the number of rows older than the page before. Raises ValueError for another.
        """
        first = bisect_left(self._negated, -end)
        if cursor is not None:
            first = max(first, len(self) - int(cursor))
        last = bisect_right(self._negated, -start)
        until = min(first + limit, last)
        if until <= first:
            return Page(memoryview(b""), 0, None)
        rows = self._data[self._ends[first] : self._ends[until] - 1]
        return Page(rows, until - first, str(len(self) - until) if until < last else None)

    def count(self, start: int, end: int) -> int:
        """How many trades have start <= timestamp <= end."""
        return max(0, bisect_right(self._negated, -start) - bisect_left(self._negated, -end))


def render(world: World) -> dict[str, Wallet]:
    """All wallets of `world` by address; their rows are in one file that is mapped into memory."""
    rng = random.Random(world.seed)
    writer = _Writer(rng)
    wallets: dict[str, tuple[Sequence[int], Sequence[int]]] = {}
    for times in _times(world, rng):
        address = f"0x{rng.getrandbits(160):040x}"
        wallets[address] = writer.wallet(address, times)
    data = writer.mapped()
    return {address: Wallet(data, *places) for address, places in wallets.items()}


def _times(world: World, rng: random.Random) -> Iterator[Iterator[int]]:
    """For each wallet, the times of its trades, newest first."""
    if world.kind == "days":
        for number in range(world.wallets):
            yield iter(_daily(world, number, rng))
        return
    for size in world.sizes():
        yield _spread(size, world.until, 3 * YEAR, rng)


def _spread(size: int, newest: int, span: int, rng: random.Random) -> Iterator[int]:
    """`size` times, newest first, over about `span` seconds; those of one transaction are equal."""
    step = max(2 * span * sum(FILLS) // (len(FILLS) * max(size, 1)), 2)
    left = size
    while left > 0:
        newest -= rng.randrange(step)
        fills = min(rng.choice(FILLS), left)
        yield from repeat(newest, fills)
        left -= fills


def _daily(world: World, number: int, rng: random.Random) -> list[int]:
    """The times of one wallet of the kind `days`, newest first."""
    times = []
    for ago in range(world.days):
        if (number + ago) % 2:
            noon = world.until - ago * DAY - DAY // 2
            times += [noon - rng.randrange(3600)] * rng.randint(1, 3)
    old = world.until - (world.days + 30) * DAY
    return [*times, *_spread(OLD_TRADES, old, YEAR, rng)]


class _Writer:
    """Renders rows into a file that is deleted with the process."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - mapped as long as it is served
        self._size = 0
        self._parts = [_parts(rng, number) for number in range(MARKETS)]
        self._sizes = [b"%.6f" % (rng.lognormvariate(3, 2) + 0.01) for _ in range(4096)]
        self._prices = [b"%.3f" % (number / 1000) for number in range(10, 991)]

    def wallet(self, address: str, times: Iterator[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Writes one wallet's rows; returns where they end, and their times, negated."""
        rng, choice = self._rng, self._rng.choice
        head = b'{"proxy_wallet":"%s",' % address.encode()
        ends, negated = array("q", [self._size]), array("q")
        before, tx_hash, parts = 0, b"", self._parts[0]
        for second in times:
            if second != before:
                before, parts = second, choice(self._parts)
                tx_hash = b"%064x" % rng.getrandbits(256)
            begin, middle, finish = choice(parts)
            row = (
                head
                + begin
                + choice(self._sizes)
                + b',"price":'
                + choice(self._prices)
                + b',"timestamp":%d' % second
                + middle
                + tx_hash
                + finish
            )
            self._file.write(row)
            self._size += len(row)
            ends.append(self._size)
            negated.append(-second)
        return ends, negated

    def mapped(self) -> memoryview:
        """Everything that was written."""
        self._file.flush()
        if not self._size:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))


def _parts(rng: random.Random, number: int) -> list[tuple[bytes, bytes, bytes]]:
    """The parts of a market's rows that do not vary: before the size, before the hash, the end."""
    slug = f"will-market-{number:03d}-resolve-to-yes"
    condition = f"0x{rng.getrandbits(256):064x}"
    found = []
    for index, outcome in enumerate(("Yes", "No")):
        token = rng.randrange(10**76, 10**77)
        for side in ("BUY", "SELL"):
            begin = f'"side":"{side}","token_id":"{token}","condition_id":"{condition}","size":'
            middle = (
                f',"title":"Will market {number:03d} resolve to Yes?"'
                f',"slug":"{slug}","icon":"https://images.example/{number:012d}.png"'
                f',"event_slug":"{slug}","outcome":"{outcome}","outcome_index":{index}'
                ',"name":"","pseudonym":"Sample-Trader","bio":"","profile_image":""'
                ',"profile_image_optimized":"","transaction_hash":"0x'
            )
            found.append((begin.encode(), middle.encode(), b'"},'))
    return found
