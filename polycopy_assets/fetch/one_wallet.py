"""One wallet: fetches the intervals that the store lacks, and makes them durable."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from random import randrange, uniform

import msgspec

from polycopy_assets.errors import ObjectDamaged, ObjectExists, ObjectLost, PolycopyError
from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.compaction import compacted, left_over
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.fetch.segment_reader import read_segment
from polycopy_assets.sources.rows import OTHER_FIELDS
from polycopy_assets.store.base import Store, crc32c
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.text import NAME, one_line
from polycopy_assets.trades.bounds import PATIENCE_SECONDS, Total
from polycopy_assets.trades.coverage import NOTHING, Covered
from polycopy_assets.trades.cutter import SEGMENT_BYTES, Cutter, Draft, growing
from polycopy_assets.trades.horizon import Horizon, beyond
from polycopy_assets.trades.interval import (
    BEFORE_ALL_TRADES,
    BEGINNING,
    Interval,
    disjoint,
    leading,
    subtract,
)
from polycopy_assets.trades.page import Page, PageSource
from polycopy_assets.trades.segment import Segment, parse_name, segment_name, wallet_prefix
from polycopy_assets.trades.walk import walk

FIELDS_NAMED = 100
"""The most unknown fields of a wallet that are counted by name: a source could invent more for
ever."""

_EARLY_REACH = 10**8

Refetching = Callable[[str, bool], None]
"""Called with a wallet whose segments are about to be marked for replacement, and whether all
are."""

KnownSegments = Callable[[str], Iterable[Segment]]
"""The segments that a wallet's record names, so that they need not be read again."""


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


class Walkers:
    """Counts the walks under way, over all wallets, and says whether there is room for another.

    `at_once` says how many requests at the same time are of use now. `compacting` is held while
    large segments are united.
    """

    def __init__(self, limit: int, at_once: Callable[[], int] | None = None) -> None:
        self.compacting = asyncio.Lock()
        self._limit = limit
        self._at_once = at_once or (lambda: limit)
        self._active = 0

    @property
    def idle(self) -> bool:
        """Whether the request budget would lie idle without another walk."""
        return self._active < min(self._limit, self._at_once())

    def __enter__(self) -> None:
        self._active += 1

    def __exit__(self, *exc: object) -> None:
        self._active -= 1


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
        store: Store,
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
        self._known = known
        self._walkers = walkers
        self._progress = progress
        self._covered = covered
        self._behind: Interval | None = None
        self._segment_bytes = segment_bytes
        self._full = full
        self._resumed = resumed
        self._total = Total(patience)
        self._refetching = refetching
        self._replaced: frozenset[str] | None = None
        self._there_before: frozenset[str] = frozenset()
        self._written: list[Segment] = []
        self._recorded: tuple[Segment, ...] = ()
        self._stored = 0
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: list[Interval] = []
        self._beginning: Draft | None = None
        self._requests = 0
        self._unknown_fields: Counter[str] = Counter()
        self._oddities: Counter[str] = Counter()

    async def run(self) -> Fetched:
        """Fetches what the store lacks; raises SourceError or StoreError.

        On an error, finished segments stay in the store, and the next run continues from there.
        """
        started = time.monotonic()
        spans = await asyncio.to_thread(self._spans_to_keep)
        segments: tuple[Segment, ...] | None = None
        while segments is None:
            missing = subtract(self._wanted, [*spans, *self._without_trades])
            await self._walk_all(missing)
            segments, spans = await asyncio.to_thread(self._segments)
        segments, leftovers = await self._compacted(segments)
        return Fetched(
            wallet=self._wallet,
            source=self._source.name,
            segments=segments,
            covered_until=leading([*spans, *self._without_trades]),
            statement=self._statement,
            known=segments == self._recorded,
            horizon=self._horizon,
            new_rows=sum(segment.rows for segment in self._written),
            requests=self._requests,
            unknown_fields=self._unknown_fields,
            oddities=self._oddities,
            seconds=time.monotonic() - started,
            superseded=(
                None if self._replaced is None else self._replaced - {s.name for s in segments}
            ),
            leftovers=leftovers,
        )

    @property
    def _wanted(self) -> Interval:
        return Interval(BEGINNING, self._horizon.until)

    @property
    def _without_trades(self) -> list[Interval]:
        """The time behind the last segment, as far as it is known to have no trades."""
        return [span for span in (self._covered, self._behind) if span is not None]

    @property
    def _statement(self) -> Covered | None:
        """What has to be made durable about that time; takes back what counts no more."""
        if self._behind is not None:
            return Covered(self._wallet, *self._behind, at=self._horizon.at)
        again = self._full or self._resumed or self._replaced is not None
        return Covered(self._wallet, *NOTHING) if again else None

    async def _compacted(
        self, segments: tuple[Segment, ...]
    ) -> tuple[tuple[Segment, ...], frozenset[str]]:
        """The segments to record, and the names that then no longer count.

        During a full refetch nothing is united: it removes what it replaces by itself. Of what does
        not count, only what was there before this fetch is named: another run may be about to
        record what it has written since.
        """
        if self._replaced is not None:
            return segments, frozenset()
        united = await compacted(self._store, segments, self._walkers.compacting)
        names = self._there_before.union(segment.name for segment in segments)
        return united, left_over(names, united)

    async def _walk_all(self, missing: list[Interval]) -> None:
        """Walks the missing intervals, newest first, and parts that walkers hand over, all at once.

        After an error no new walk starts, but those under way finish, so that their work is kept.
        """
        errors: list[PolycopyError] = []
        self._waiting, self._beginning = missing, None
        try:
            while self._running or (missing and not errors):
                while missing and not errors and (self._walkers.idle or not self._running):
                    self._start(missing.pop())
                done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                self._running -= done
                for task in done:
                    error = task.exception()
                    if isinstance(error, PolycopyError):
                        errors.append(error)
                    elif error is not None:
                        raise error
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
        if errors:
            raise errors[0]
        if self._beginning is not None:
            await asyncio.to_thread(self._write, self._beginning)

    def _start(self, span: Interval) -> None:
        self._running.add(asyncio.create_task(self._walk(span)))

    def _hand_over(self, part: Interval) -> bool:
        """Takes the older part of a long walk if there is room for another walk."""
        if not self._walkers.idle:
            return False
        self._start(part)
        return True

    async def _walk(self, span: Interval) -> None:
        with self._walkers:
            async for draft in walk(
                self._source,
                self._wallet,
                span,
                segment_bytes=self._next_bytes,
                total=self._total,
                on_page=self._count,
                split=self._hand_over,
            ):
                if now := self._but_the_beginning(draft):
                    await asyncio.to_thread(self._write, now)

    def _next_bytes(self) -> int:
        return growing(self._stored, len(self._running), self._segment_bytes)

    def _but_the_beginning(self, draft: Draft) -> Draft | None:
        """The part of `draft` that can be written while other walks of the wallet are under way.

        The beginning is written last, so that coverage from the beginning without a gap means that
        the wallet was fetched up to a horizon. If a fetch is killed, the oldest part may be all
        that was finished, and would pass for the whole wallet.
        """
        others = len(self._running) > 1 or self._waiting
        if draft.span.start != BEGINNING or not others:
            return draft
        early = BEFORE_ALL_TRADES
        if self._replaced is not None:
            early -= randrange(_EARLY_REACH)  # not the name of the replaced segment
        if draft.span.until <= early or (draft.first is not None and draft.first < early):
            self._beginning = draft
            return None
        self._beginning = Cutter(early, self._source.name).finish(BEGINNING)
        return msgspec.structs.replace(draft, span=Interval(early, draft.span.until))

    def _count(self, page: Page) -> None:
        self._requests += page.requests
        for field, rows in page.unknown_fields.items():
            name = one_line(field, NAME)
            known = name in self._unknown_fields or len(self._unknown_fields) < FIELDS_NAMED
            self._unknown_fields[name if known else OTHER_FIELDS] += rows
        self._oddities.update(page.oddities)
        self._progress.page(len(page.rows))

    def _write(self, draft: Draft) -> None:
        if self._covered is not None and draft.span.start == self._covered.until:
            # What lies before is known to have no trades: so the segment can cover it.
            span = Interval(self._covered.start, draft.span.until)
            draft = msgspec.structs.replace(draft, span=span)
        if not draft.rows and draft.span.until == self._horizon.until:
            self._behind = draft.span
            return
        try:
            self._store.create(
                segment_name(self._wallet, draft.span),
                draft.payload,
                {"rows": str(draft.rows), "source": self._source.name},
            )
        except ObjectExists:
            if self._replaced and segment_name(self._wallet, draft.span) in self._replaced:
                raise
            # Another run was first. Its segment counts, and is read like any existing segment.
            return
        self._stored += len(draft.payload)
        self._written.append(
            Segment.of_draft(self._wallet, draft, self._source.name, crc32c(draft.payload))
        )

    def _spans_to_keep(self) -> list[Interval]:
        """The spans that need not be requested; starts or resumes a full refetch."""
        for name, what in self._store.left_out(wallet_prefix(self._wallet)):
            if parse_name(name):  # otherwise no segment could ever be written there
                raise ObjectDamaged(self._store.uri(name), f"is {what}, not a segment: remove it")
        names = self._stored_names()
        self._there_before = frozenset(names)
        named = {name: found[1] for name in names if (found := parse_name(name))}
        doubtful = [n for n, span in named.items() if beyond(span.until, self._horizon.until)]
        replaced = list(named) if self._full else doubtful
        marked = refetch.marker_name(self._wallet) in names
        if marked and self._full and not self._resumed:
            # The marker is from an earlier, smaller replacement: now every segment is to be
            # replaced.
            self._store.delete(refetch.marker_name(self._wallet))
            marked = False
        if marked:
            self._replaced = refetch.being_replaced(self._store, self._wallet)
        elif replaced:
            self._refetching(self._wallet, self._full)
            self._replaced = refetch.begin(self._store, self._wallet, replaced)
        if self._replaced is not None:
            self._covered = None  # it may be what was wrong
            self._segment_bytes = int(self._segment_bytes * uniform(refetch.LEAST_SHARE, 1))
        return self._counting(names)

    def _counting(self, names: Iterable[str]) -> list[Interval]:
        """The spans of the segments that count: all but those that are to be replaced."""
        ignored = (self._replaced or frozenset()) - {segment.name for segment in self._written}
        named = (parse_name(name) for name in names if name not in ignored)
        return [found[1] for found in named if found]

    def _spans_of_store(self) -> list[Interval]:
        return self._counting(self._stored_names())

    def _stored_names(self) -> list[str]:
        return [item.name for item in self._store.list(wallet_prefix(self._wallet))]

    def _segments(self) -> tuple[tuple[Segment, ...] | None, list[Interval]]:
        """All segments of the wallet that count, and their spans; reads those not described yet.

        None if a segment is damaged: it is set aside, and its interval must be requested again.
        """
        spans = self._spans_of_store()
        self._recorded = tuple(self._known(self._wallet))
        described = {(s.span, s.claim): s for s in (*self._recorded, *self._written)}
        counted = disjoint(spans, (segment.span for segment in self._recorded))
        segments = []
        for span, claim in counted:
            try:
                segments.append(
                    described.get((span, claim))
                    or read_segment(self._store, self._wallet, span, claim)
                )
            except ObjectLost:
                set_aside(self._store, segment_name(self._wallet, span))
                return None, [each for each in spans if each != span]
        return tuple(segments), spans
