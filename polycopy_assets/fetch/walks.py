"""The walks of one wallet: through all missing intervals at once, into the store."""

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec

from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.fetch.stored_wallet import StoredWallet
from polycopy_assets.sources.rows import OTHER_FIELDS
from polycopy_assets.text import NAME, one_line
from polycopy_assets.trades.bounds import Total
from polycopy_assets.trades.cutter import Cutter, Draft, growing
from polycopy_assets.trades.interval import BEFORE_ALL_TRADES, BEGINNING, Interval
from polycopy_assets.trades.page import Page, PageSource
from polycopy_assets.trades.walk import walk

FIELDS_NAMED = 100
"""The most unknown fields of a wallet that are counted by name: a source could invent more for
ever."""


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


class Walks:
    """The walks through the trades of `wallet`, which write their segments to `stored`.

    `requests`, `unknown_fields` (rows by field) and `oddities` (rows by what is strange in them)
    are of all of them. `patience` is how many seconds, in all, to wait for slow pages.
    """

    def __init__(
        self,
        wallet: str,
        *,
        source: PageSource,
        stored: StoredWallet,
        walkers: Walkers,
        progress: Progress,
        segment_bytes: int,
        patience: float,
    ) -> None:
        self.requests = 0
        self.unknown_fields: Counter[str] = Counter()
        self.oddities: Counter[str] = Counter()
        self._wallet = wallet
        self._source = source
        self._stored = stored
        self._walkers = walkers
        self._progress = progress
        self._segment_bytes = segment_bytes
        self._total = Total(patience)
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: list[Interval] = []
        self._beginning: Draft | None = None

    async def run(self, missing: list[Interval]) -> None:
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
            await asyncio.to_thread(self._stored.write, self._beginning)

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
                avoided=self._stored.old_bounds,
            ):
                if now := self._but_the_beginning(draft):
                    await asyncio.to_thread(self._stored.write, now)

    def _next_bytes(self) -> int:
        return growing(self._stored.bytes_written, len(self._running), self._segment_bytes)

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
        while early in self._stored.old_bounds:
            early -= 1
        if draft.span.until <= early or (draft.first is not None and draft.first < early):
            self._beginning = draft
            return None
        self._beginning = Cutter(early, self._source.name).finish(BEGINNING)
        return msgspec.structs.replace(draft, span=Interval(early, draft.span.until))

    def _count(self, page: Page) -> None:
        self.requests += page.requests
        for field, rows in page.unknown_fields.items():
            name = one_line(field, NAME)
            known = name in self.unknown_fields or len(self.unknown_fields) < FIELDS_NAMED
            self.unknown_fields[name if known else OTHER_FIELDS] += rows
        self.oddities.update(page.oddities)
        self._progress.page(self._wallet, len(page.rows))
