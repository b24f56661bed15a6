"""Bounds on the walks of one wallet, against a source that promises more pages for ever.

Each bound lies far beyond any real wallet, and ends the walk as a broken contract that names the
numbers. Segments stored before are kept, so a real wallet that reaches a bound continues in its
next fetch. The bounds hold for all walks of a fetch together: each walk hands its older part to
another, and so would never reach its own bound.
"""

from collections import deque
from dataclasses import dataclass

from isal.isal_zlib import crc32

from polycopy_assets.errors import ContractBroken, TransientError
from polycopy_assets.text import counted
from polycopy_assets.trades.page import Page, Rows

SECOND_ROWS = 20_000
"""The most rows in one second, which are held in memory until the second is complete. The most ever
seen are 48; a block of the chain, which has one timestamp, has room for about a thousand fills of
all wallets together."""

SECOND_BYTES = 32 * 2**20
"""The most bytes of these rows: 20,000 rows of 1.6 KB, twice what the longest real row has."""

THIN_PAGES = 100
"""How many nearly empty pages may promise more: a filter may leave little of a page."""

FULL_ENOUGH = 10
"""After those, a page must hold, on average, at least a tenth of what was asked for."""

DENSE_ROWS = 100_000
"""How many rows may be arbitrarily close together in time."""

FASTEST = 100
"""Beyond those, the most rows per second of history: 8.6 million a day, more than the whole
exchange has."""

MOST_ROWS = 20_000_000
"""The most rows of one fetch. All wallets of the old job had 105 million together."""

PATIENCE_SECONDS = 600.0
"""The most seconds that the pages of a wallet may take in total, not counting `QUICK_SECONDS` each:
a wallet is loaded only when the fetch has ended, so a slow one delays all others."""

QUICK_SECONDS = 3.0
"""Seconds that a page may take without counting as slow; ordinary ones take 0.3."""

CURSOR_LENGTH = 4096
"""The most characters of a cursor: a longer one does not fit into a URL."""

_RECENT = THIN_PAGES + FULL_ENOUGH * SECOND_ROWS // 1000 + 1
"""Pages and cursors that are remembered: as many as one second may have.

A page can be repeated in order only within its own second; an older page is out of order, which the
walk detects anyway.
"""


@dataclass
class Total:
    """The totals of one wallet's walks so far, in this fetch.

    `promising` are the pages that promised more, `promised` their rows; `seconds` how far back in
    time all pages go; `slow` how many seconds were spent waiting for slow pages, at most
    `patience`.
    """

    patience: float = PATIENCE_SECONDS
    rows: int = 0
    promising: int = 0
    promised: int = 0
    seconds: int = 0
    slow: float = 0.0


class Bounds:
    """Follows one walk page by page, and adds it to `total`; raises if a bound is exceeded."""

    def __init__(self, total: Total) -> None:
        self._total = total
        self._cursors: deque[str] = deque(maxlen=_RECENT)
        self._contents: deque[int] = deque(maxlen=_RECENT)
        self._pages = 0
        self._oldest: int | None = None
        self._second: int | None = None
        self._second_rows = self._second_bytes = 0

    def check(self, page: Page) -> None:
        """Takes the next page; raises ContractBroken, or TransientError if it took too long."""
        self._pages += 1
        self._total.rows += len(page.rows)
        self._check_cursor(page)
        self._check_content(page)
        self._check_second(page)
        if page.has_more:
            self._check_progress(page)
        self._check_patience(page)

    def _check_cursor(self, page: Page) -> None:
        cursor = page.cursor
        if page.has_more and cursor is None:
            raise ContractBroken("more pages were promised, but no cursor to reach them")
        if cursor is None:
            return
        if cursor in self._cursors:
            raise ContractBroken(f"a cursor was repeated after {counted(self._pages - 1, 'page')}")
        if len(cursor) > CURSOR_LENGTH:
            raise ContractBroken(f"a cursor of {len(cursor):,} characters")
        self._cursors.append(cursor)

    def _check_content(self, page: Page) -> None:
        rows = Rows.of(page.rows)
        content = hash((*rows.times, *rows.hashes, crc32(rows.lines)))
        if page.rows and content in self._contents:
            raise ContractBroken(f"a page of {len(page.rows)} rows came again under a new cursor")
        self._contents.append(content)

    def _check_second(self, page: Page) -> None:
        """Counts the rows of the oldest second so far, which is held in memory."""
        if not page.rows:
            return
        rows = Rows.of(page.rows)
        second = rows.times[-1]
        if second != self._second:
            self._second, self._second_rows, self._second_bytes = second, 0, 0
        for timestamp, raw in zip(reversed(rows.times), reversed(rows.raws), strict=True):
            if timestamp != second:
                break
            self._second_rows += 1
            self._second_bytes += len(raw)
        if self._second_rows > SECOND_ROWS or self._second_bytes > SECOND_BYTES:
            raise ContractBroken(
                f"{self._second_rows:,} rows ({self._second_bytes:,} bytes) in the second {second};"
                f" at most {SECOND_ROWS:,} ({SECOND_BYTES:,} bytes) are believed"
            )

    def _check_progress(self, page: Page) -> None:
        """If more pages are promised, they must hold enough rows, and must go back in time."""
        if not page.rows:
            raise ContractBroken("an empty page that promises more")
        total, oldest = self._total, page.rows[-1].timestamp
        total.promising += 1
        total.promised += len(page.rows)
        above = page.rows[0].timestamp if self._oldest is None else self._oldest
        total.seconds += above - oldest
        self._oldest = oldest
        if total.promising > THIN_PAGES + FULL_ENOUGH * total.promised // page.limit:
            raise ContractBroken(
                f"{total.promised:,} rows in {total.promising:,} pages, and each promised more:"
                f" {page.limit:,} per page were requested"
            )
        if total.rows > DENSE_ROWS + FASTEST * total.seconds:
            raise ContractBroken(
                f"{total.rows:,} rows that go back {total.seconds:,} seconds, and more promised:"
                f" at most {FASTEST} a second are believed"
            )
        if total.rows > MOST_ROWS:
            raise ContractBroken(
                f"{total.rows:,} rows, and more promised: at most {MOST_ROWS:,} are taken at once"
            )

    def _check_patience(self, page: Page) -> None:
        total = self._total
        total.slow += max(page.seconds - QUICK_SECONDS, 0.0)
        if total.slow > total.patience:
            raise TransientError(
                f"slow pages took {total.slow:,.0f} s, more than {total.patience:,.0f} s; what came"
                " is kept, and the next fetch continues from there"
            )
