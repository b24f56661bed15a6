"""What a source returns to the walk: pages of rows, exactly as served."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, neg
from typing import NamedTuple, Protocol, Self, overload, runtime_checkable

from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import Interval


class Row(NamedTuple):
    """One trade as served, with the few fields that the walk needs.

    `raw` is the row's JSON object as one line without line feed; `timestamp` epoch seconds.
    """

    wallet: str
    timestamp: int
    tx_hash: str
    raw: bytes


class Rows(Sequence[Row]):
    """Rows in columns, newest first: a whole page is checked and cut without an object for each.

    `lines` are the rows as served, one JSON object a line, each with its line break.
    """

    __slots__ = ("hashes", "lines", "raws", "times", "wallets")

    def __init__(
        self,
        wallets: Sequence[str],
        times: Sequence[int],
        hashes: Sequence[str],
        raws: Sequence[bytes],
        lines: bytes | None = None,
    ) -> None:
        self.wallets = wallets
        self.times = times
        self.hashes = hashes
        self.raws = raws
        self.lines = as_lines(raws) if lines is None else lines

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Self:
        """The same rows in columns."""
        if isinstance(rows, cls):
            return rows
        rows = list(rows)
        wallets, times, hashes, raws = (list(map(get, rows)) for get in _COLUMNS)
        return cls(wallets, times, hashes, raws)

    def down_to(self, floor: int) -> "Rows":
        """The rows that are not older than `floor`; the rows are in order."""
        if not self.times or self.times[-1] >= floor:
            return self
        return self[: bisect_right(self.times, -floor, key=neg)]

    def __len__(self) -> int:
        return len(self.times)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> "Rows": ...
    def __getitem__(self, at: int | slice) -> "Row | Rows":
        """A row, or some of the rows."""
        if isinstance(at, slice):
            return Rows(self.wallets[at], self.times[at], self.hashes[at], self.raws[at])
        return Row(self.wallets[at], self.times[at], self.hashes[at], self.raws[at])


_COLUMNS = tuple(map(attrgetter, Row._fields))


def as_lines(raws: Sequence[bytes]) -> bytes:
    """The rows one after the other, each with a line break."""
    return b"\n".join([*raws, b""])


class Page(NamedTuple):
    """One answer of the source, newest row first.

    `limit` is the page size that was asked for; `requests` how many requests it took, retries
    included; `seconds` how long that took; `unknown_fields` counts the rows by fields that the
    contract does not list, `oddities` by what is valid but strange in them, in words.
    """

    rows: Sequence[Row]
    has_more: bool
    cursor: str | None
    limit: int
    requests: int
    unknown_fields: Mapping[str, int] = {}
    oddities: Mapping[str, int] = {}
    seconds: float = 0.0


class PageSource(Protocol):
    """A trades API, seen as pages of one wallet's trades within fixed bounds."""

    name: str

    async def page(self, wallet: str, span: Interval, cursor: str | None) -> Page:
        """The next page of `wallet` within `span`; raises SourceError."""
        ...

    async def horizon(self) -> Horizon:
        """The time until which its answers are complete now; raises SourceError if unknown."""
        ...


@runtime_checkable
class Paced(Protocol):
    """A source that knows when its answers wait for this process."""

    @property
    def at_once(self) -> int:
        """How many requests at the same time are of use now."""
        ...


@runtime_checkable
class Witness(Protocol):
    """A source that also has a separate count of a wallet's trades."""

    async def count_trades(self, wallet: str, span: Interval) -> int:
        """How many trades of `wallet` there are in `span`, which is whole UTC days.

        One request, retries aside. Raises SourceError.
        """
        ...
