"""What a source returns to the walk: pages of rows, exactly as served."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

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
class Witness(Protocol):
    """A source that also has a separate count of a wallet's trades."""

    async def count_trades(self, wallet: str, span: Interval) -> int:
        """How many trades of `wallet` there are in `span`, which is whole UTC days.

        One request, retries aside. Raises SourceError.
        """
        ...
