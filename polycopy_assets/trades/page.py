"""What a source hands to the walk: pages of rows, exactly as served."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import Interval


class Row(NamedTuple):
    """One trade as served, with the few fields that the walk has to look at.

    `raw` is the row's JSON object as one line without line feed; `timestamp` epoch seconds.
    """

    wallet: str
    timestamp: int
    tx_hash: str
    raw: bytes


class Page(NamedTuple):
    """One answer of the source, newest row first.

    `limit` is the page size that was asked for; `requests` how often the source was asked to
    get it, retries included; `seconds` how long that took; `unknown_fields` counts the rows by
    fields that the contract does not list, `oddities` by what is possible but strange in them, in
    words.
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
        """Until when its answers can be trusted now; raises SourceError if that cannot be told."""
        ...


@runtime_checkable
class Witness(Protocol):
    """A source that also counts a wallet's trades by another path than its pages."""

    async def count_trades(self, wallet: str, span: Interval) -> int:
        """How many trades of `wallet` there are in `span`, which is whole UTC days.

        One request, retries aside. Raises SourceError.
        """
        ...
