"""The interfaces that the pipeline needs; each shell passes in implementations."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from logging import Logger
from typing import NamedTuple, Protocol

import msgspec

from polycopy_assets.dimensions.facts import Said
from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.ledger.source_counts import Count
from polycopy_assets.settings.memory import DEFAULT_MEMORY
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.system.step import Step
from polycopy_assets.trades.bounds import PATIENCE_SECONDS
from polycopy_assets.trades.cutter import SEGMENT_BYTES
from polycopy_assets.trades.page import PageSource
from polycopy_assets.trades.segment import Segment
from polycopy_assets.warehouse.feed_table import FeedTable

OpenSource = Callable[[], AbstractAsyncContextManager[PageSource]]
"""Opens the source, on the event loop that uses it."""

Check = Callable[[], None]
"""Raises Stopped if the run must not go on; called before each request and each commit."""


class Limits(NamedTuple):
    """Requests in flight, bytes of a segment, and seconds that a wallet's slow pages may take."""

    concurrency: int
    segment_bytes: int = SEGMENT_BYTES
    patience: float = PATIENCE_SECONDS


class FetchReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a fetch: wallets planned and recorded, new rows, requests, and failures.

    A wallet whose replaced segments could not be deleted is recorded, and failed. `down` is set if
    the source or the store counts as down, `ended_early` if an error ended the fetch. `left` are
    the wallets that were planned and have no outcome, because the time was up. `oddities` maps the
    first things that are possible but strange in the rows to the first wallet that has them.
    """

    wallets: int = 0
    recorded: int = 0
    new_rows: int = 0
    requests: int = 0
    failures: Sequence[Failed] = ()
    down: bool = False
    ended_early: bool = False
    left: int = 0
    oddities: Mapping[str, str] = {}


class FetchRecord(Protocol):
    """Where a fetch writes what it has done, wallet by wallet."""

    def segments(self, wallet: str) -> Sequence[Segment]:
        """The segments that the wallet's record names; none without a record."""
        ...

    def write(self, fetched: Fetched) -> None:
        """Takes a wallet whose segments are all durable; the next `flush` commits it."""
        ...

    def flush(self) -> None:
        """Commits the wallets taken since the last flush, in their order; all or none of them.

        If it raises, they are not tried again: the next fetch finds their segments in the store.
        """
        ...

    def write_failure(self, failure: Failed) -> None:
        """Reports that a wallet failed, or was skipped."""
        ...

    def write_attempt(self, failure: Failed) -> None:
        """Counts a failure as one of the wallet's attempts: it was not an outage."""
        ...

    def note_refetch(self, wallet: str, *, full: bool) -> None:
        """Notes that segments of the wallet are about to be replaced, and whether all are."""
        ...

    def end_refetch(self, wallet: str) -> None:
        """Notes that no segment of the wallet is left to replace."""
        ...

    def show(self, progress: Progress) -> None:
        """Shows the progress; called after each wallet."""
        ...

    def end(self, report: FetchReport) -> None:
        """Keeps the report of a fetch that ended early."""
        ...


class Committed(Protocol):
    """What a combine needs of a wallet's record."""

    @property
    def version(self) -> str:
        """The data version: which trades there are."""
        ...

    @property
    def segments(self) -> Sequence[Segment]:
        """The segments that the record names."""
        ...

    @property
    def covered_until(self) -> int:
        """Until when (epoch seconds) the wallet is covered: no segment there means no trades."""
        ...


class Records(Protocol):
    """The record, read."""

    def versions(self, wallets: Collection[str] | None = None) -> Mapping[str, str]:
        """The data version of every wallet, or of each of `wallets`, that is complete."""
        ...

    def read(
        self, wallets: Collection[str] | None = None
    ) -> Iterator[tuple[str, Committed | PolycopyError]]:
        """The latest record of each of `wallets` (None: of all), or what is wrong with it."""
        ...


class FetchPorts(NamedTuple):
    """What a fetch needs; `deadline` is when it has to end."""

    open_source: OpenSource
    store: FeedStore
    coverage: CoverageWriter
    record: FetchRecord
    limits: Limits
    progress: Progress
    check: Check
    deadline: Deadline


class LoadPorts(NamedTuple):
    """What combining and loading need; `log` is the run's.

    `check` raises Stopped if the run must not go on; it is called before each batch. `memory`: MB
    that this process may use. `step` shows what is under way.
    """

    records: Records
    store: FeedStore
    table: FeedTable
    log: Logger
    check: Check
    memory: int = DEFAULT_MEMORY
    step: Step | None = None


class DimensionSource(Protocol):
    """A source that knows conditions; every method raises SourceError."""

    @property
    def at_once(self) -> int:
        """How many requests at the same time are of use now."""
        ...

    async def tokens(self, conditions: Sequence[str]) -> Said:
        """The tokens of at most 10 conditions."""
        ...

    async def resolutions(self, conditions: Sequence[str]) -> Said:
        """The resolutions of at most 20 conditions."""
        ...

    async def markets(self, conditions: Sequence[str]) -> Said:
        """The markets of at most 20 conditions."""
        ...


OpenDimensions = Callable[[], AbstractAsyncContextManager[DimensionSource]]


class CountRecord(Protocol):
    """Where a count is written, wallet by wallet."""

    def write(self, count: Count) -> None:
        """Records the source's count for a wallet."""
        ...

    def write_failure(self, failure: Failed) -> None:
        """Reports that a wallet could not be compared, or was skipped."""
        ...


class CountPorts(NamedTuple):
    """What counting needs."""

    open_source: OpenSource
    record: CountRecord
    concurrency: int
    progress: Progress
    check: Check
