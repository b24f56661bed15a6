"""One wallet: fetches the intervals that the store lacks, and makes them durable."""

import asyncio
import time
from collections.abc import Mapping
from itertools import takewhile

import msgspec

from polycopy_assets.fetch.compaction import compacted, left_over
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.fetch.stored_wallet import KnownSegments, Refetching, StoredWallet
from polycopy_assets.fetch.walks import Walkers, Walks
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.trades.bounds import PATIENCE_SECONDS
from polycopy_assets.trades.coverage import Covered
from polycopy_assets.trades.cutter import SEGMENT_BYTES
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import BEGINNING, Interval, leading, subtract
from polycopy_assets.trades.page import PageSource
from polycopy_assets.trades.segment import Segment


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet whose coverage is durable from the beginning to `covered_until`.

    Except for the time behind the last of `segments`, which are all that count, oldest first. That
    time has no trades: `statement` says so, and has to be durable before the wallet is recorded;
    None if a durable one already says it. `known` says that all segments were known before.

    `new_rows`, `requests`, `unknown_fields` (rows by field) and `oddities` (rows by what is strange
    in them) are of this fetch only; `seconds` is its duration. `horizon` is set if the source was
    asked. `superseded` names the replaced segments, None if there are none; see `fetch.refetch`.
    `leftovers` names segments that no longer count, because `segments` cover them: to be deleted
    once the wallet is recorded (`fetch.compaction`).
    """

    wallet: str
    source: str
    segments: tuple[Segment, ...]
    covered_until: int
    new_rows: int
    requests: int
    unknown_fields: Mapping[str, int]
    seconds: float
    superseded: frozenset[str] | None = None
    statement: Covered | None = None
    known: bool = False
    oddities: Mapping[str, int] = {}
    horizon: Horizon | None = None
    leftovers: frozenset[str] = frozenset()


class WalletFetch:
    """The fetch of one wallet up to `horizon`; from the beginning if `full`.

    `resumed` says that an earlier full fetch has not ended, so its marker is valid. `covered` is
    the interval behind the wallet's last segment that is known to have no trades.

    A segment that ends too far after the horizon was recorded with a wrong clock or status: it is
    replaced, so that the trades it missed are requested.

    `patience` is how many seconds, in all, to wait for its slow pages.
    """

    def __init__(
        self,
        wallet: str,
        horizon: Horizon,
        *,
        source: PageSource,
        store: FeedStore,
        known: KnownSegments,
        walkers: Walkers,
        progress: Progress,
        covered: Interval | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        full: bool = False,
        resumed: bool = False,
        patience: float = PATIENCE_SECONDS,
        refetching: Refetching = lambda wallet, full: None,
    ) -> None:
        self._wallet = wallet
        self._horizon = horizon
        self._source = source
        self._store = store
        self._walkers = walkers
        self._progress = progress
        self._segment_bytes = segment_bytes
        self._patience = patience
        self._stored = StoredWallet(
            wallet,
            horizon,
            source=source.name,
            store=store,
            known=known,
            covered=covered,
            full=full,
            resumed=resumed,
            refetching=refetching,
        )

    async def run(self) -> Fetched:
        """Fetches what the store lacks; raises SourceError or StoreError.

        On an error, finished segments stay in the store, and the next run continues from there.
        """
        started = time.monotonic()
        stored = self._stored
        spans = await asyncio.to_thread(stored.spans_to_keep)
        walks = Walks(
            self._wallet,
            source=self._source,
            stored=stored,
            walkers=self._walkers,
            progress=self._progress,
            segment_bytes=self._segment_bytes,
            patience=self._patience,
        )
        segments: tuple[Segment, ...] | None = None
        while segments is None:
            missing = subtract(self._wanted, [*spans, *stored.without_trades])
            await walks.run(stored.to_request(missing))
            segments, spans = await asyncio.to_thread(stored.segments)
        segments, leftovers = await self._compacted(segments)
        return Fetched(
            wallet=self._wallet,
            source=self._source.name,
            segments=segments,
            covered_until=leading([*spans, *stored.without_trades]),
            statement=stored.statement,
            known=segments == stored.recorded,
            horizon=self._horizon,
            new_rows=sum(segment.rows for segment in stored.written),
            requests=walks.requests,
            unknown_fields=walks.unknown_fields,
            oddities=walks.oddities,
            seconds=time.monotonic() - started,
            superseded=(
                None if stored.replaced is None else stored.replaced - {s.name for s in segments}
            ),
            leftovers=leftovers,
        )

    @property
    def _wanted(self) -> Interval:
        return Interval(BEGINNING, self._horizon.until)

    async def _compacted(
        self, segments: tuple[Segment, ...]
    ) -> tuple[tuple[Segment, ...], frozenset[str]]:
        """The segments to record, and the names that then no longer count.

        During a full refetch nothing is united, and it removes what it replaces by itself. What
        this fetch has written is united by a later one: a union of what is combined and what is not
        would be combined as a whole. Of what does not count, only what was there before this fetch
        is named: another run may be about to record what it has written since.
        """
        names = self._stored.there_before.union(segment.name for segment in segments)
        if self._stored.replaced is not None:
            names -= self._stored.replaced
            return segments, left_over(self._store.names, names, segments)
        new = {segment.span for segment in self._stored.written}
        older = tuple(takewhile(lambda segment: segment.span not in new, segments))
        united = await compacted(self._store, older, self._walkers.compacting)
        united += segments[len(older) :]
        return united, left_over(self._store.names, names, united)
