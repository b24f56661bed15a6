"""The walk: one wallet's trades within fixed bounds, newest first, checked page by page.

Fixed bounds and the source's keyset cursor make paging stable while new trades arrive. Anything
that the contract rules out ends the walk with ContractBroken, so that a wallet is never complete
with trades missing. `trades.bounds` ensures that every walk ends.
"""

from collections.abc import AsyncIterator, Callable, Collection
from operator import ge

from polycopy_assets.errors import ContractBroken, SourceError
from polycopy_assets.text import quoted
from polycopy_assets.trades.bounds import Bounds, Total
from polycopy_assets.trades.cutter import SEGMENT_BYTES, Cutter, Draft
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Page, PageSource, Rows
from polycopy_assets.trades.wallet import ADDRESS

SPLIT_AFTER_PAGES = 5
"""After so many pages a walker offers the older part; if nobody takes it, after as many again."""

SPLIT_REACH = 8
"""A walker that hands over the older part keeps about this many times the span that it has
walked."""

Observer = Callable[[Page], None]
Splitter = Callable[[Interval], bool]
"""Offered an older part of the interval; True if another walker takes it."""


async def walk(
    source: PageSource,
    wallet: str,
    span: Interval,
    *,
    segment_bytes: int | Callable[[], int] = SEGMENT_BYTES,
    total: Total | None = None,
    on_page: Observer = lambda page: None,
    split: Splitter = lambda part: False,
    avoided: Collection[int] = (),
) -> AsyncIterator[Draft]:
    """Yields the segments of `wallet` that together cover `span`, newest first.

    If the source fails for good, the walk yields a segment of all complete seconds, and then raises
    the SourceError. After ContractBroken it yields nothing, because the page cannot be trusted. It
    leaves out parts that `split` takes. `total` sums up the walks of this wallet. Segments touch at
    no second in `avoided`.
    """
    cutter = Cutter(span.until, source.name, segment_bytes, avoided=avoided)
    pages = _pages(source, wallet, span, on_page, Bounds(total or Total()))
    floor, newest, count = span.start, None, 0
    try:
        async for page in pages:
            rows = Rows.of(page.rows)
            for draft in cutter.add_all(rows.down_to(floor)):
                yield draft
            if rows and rows.times[-1] < floor:
                break
            count += 1
            newest = newest or (rows.times[0] if rows else None)
            whole = floor == span.start  # what is handed over, is handed over once
            if whole and count % SPLIT_AFTER_PAGES == 0 and page.has_more and newest:
                floor = _hand_over(span, newest, rows.times[-1], split, avoided)
    except ContractBroken:
        raise
    except SourceError:
        draft = cutter.salvage()
        if draft:
            yield draft
        raise
    yield cutter.finish(floor)


def _hand_over(
    span: Interval, newest: int, oldest: int, split: Splitter, avoided: Collection[int]
) -> int:
    """Where the walker stops from now on: the lower end of `span`, or of the part it keeps."""
    floor = oldest - SPLIT_REACH * max(newest - oldest, 1)
    while floor in avoided:
        floor -= 1
    if floor > span.start and split(Interval(span.start, floor)):
        return floor
    return span.start


async def _pages(
    source: PageSource, wallet: str, span: Interval, on_page: Observer, bounds: Bounds
) -> AsyncIterator[Page]:
    """The pages of the walk, each checked against the contract and against those before it."""
    cursor: str | None = None
    above: int | None = None
    while True:
        page = await source.page(wallet, span, cursor)
        page = page._replace(rows=Rows.of(page.rows))
        on_page(page)
        bounds.check(page)
        _check(page, wallet, span, above)
        yield page
        if page.cursor is None or not page.has_more:
            return
        cursor, above = page.cursor, page.rows[-1].timestamp


def _check(page: Page, wallet: str, span: Interval, above: int | None) -> None:
    """Raises ContractBroken for what the contract rules out; `above` is the row before it."""
    if len(page.rows) > page.limit:
        raise ContractBroken(f"a page of {len(page.rows)} rows where {page.limit} is the limit")
    rows = Rows.of(page.rows)
    times = rows.times if above is None else [above, *rows.times]
    inside = not rows or (span.start <= rows.times[-1] and rows.times[0] < span.until)
    in_order = all(map(ge, times, times[1:]))
    if not in_order or not inside or not {wallet}.issuperset(rows.wallets):
        raise _broken(rows, wallet, span, above)


def _broken(rows: Rows, wallet: str, span: Interval, upper: int | None) -> ContractBroken:
    """What is wrong with the first wrong row."""
    for row in rows:
        if row.wallet != wallet:
            # If it is not an address, it may be an echo of the request, such as the key.
            shown = quoted(row.wallet) if ADDRESS.fullmatch(row.wallet) else "no address"
            return ContractBroken(f"a row of another wallet: {shown}")
        if not span.start <= row.timestamp < span.until:
            return ContractBroken(
                f"a row at {row.timestamp}, outside the requested {span.start} to {span.until - 1}"
            )
        if upper is not None and row.timestamp > upper:
            return ContractBroken(f"order not newest first: {row.timestamp} after {upper}")
        upper = row.timestamp
    raise AssertionError("every row is as the contract says")
