"""Polymarket's Data API v2: its feeds, as pages of one wallet's rows. No key, no account."""

import time
from collections.abc import Callable, Collection
from typing import Annotated

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.feeds.base import Feed
from polycopy_assets.sources.http import Answer, Http
from polycopy_assets.sources.rows import decode_page, read_rows
from polycopy_assets.sources.status import freshness
from polycopy_assets.trades.horizon import DEFAULT_MAX_LAG, Horizon, horizon
from polycopy_assets.trades.interval import Interval, describe
from polycopy_assets.trades.page import Page
from polycopy_assets.trades.shapes import POLYMARKET

MARGIN = 300
"""Seconds on top of the reported lag: answers were seen with `Cache-Control: max-age=300`."""


class _Pagination(msgspec.Struct):
    has_more: bool
    next_cursor: str | None = None


class _Body(msgspec.Struct):
    data: list[msgspec.Raw]
    pagination: _Pagination


class _Volume(msgspec.Struct):
    trade_count: Annotated[int, msgspec.Meta(ge=0)]


class _Volumes(msgspec.Struct):
    data: _Volume


class Polymarket:
    """The rows of `feed` from Data API v2, full history, but for the types that are `left_out`."""

    name = POLYMARKET

    def __init__(
        self,
        http: Http,
        feed: Feed,
        *,
        left_out: Collection[str] = (),
        max_lag: float = DEFAULT_MAX_LAG,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._http = http
        self._feed = feed
        self._endpoint = feed.endpoints[POLYMARKET]
        without = self._endpoint.without
        self._without = without(left_out) if without and left_out else {}
        self._max_lag = max_lag
        self._now = now

    @property
    def at_once(self) -> int:
        """How many requests at the same time are of use now."""
        return self._http.at_once

    async def page(self, wallet: str, span: Interval, cursor: str | None) -> Page:
        """At most a page of `wallet`'s rows in `span`, newest first; raises SourceError."""
        params = {**self._endpoint.asked(wallet, span), **self._without}
        if cursor is not None:
            # Every cursor needs the same filters: with a changed filter the walk silently starts
            # again.
            params["cursor"] = cursor
        return await self._http.read(
            self._endpoint.path,
            params,
            f"{self._endpoint.rows} of {wallet} {describe(span)}",
            self._page,
            new=cursor is None,
        )

    async def count_trades(self, wallet: str, span: Interval) -> int:
        """Trades of `wallet` in `span`, whole UTC days, as `/v2/user-volume` counts them.

        One request. It is not documented to count by the feed's rule. Raises SourceError.
        """
        params: dict[str, str | int] = {
            "user": wallet,
            # 0 would mean a default. Both bounds are inclusive and stand for their whole UTC day.
            "start": max(span.start, 1),
            "end": span.until - 1,
        }
        what = f"the count of the trades of {wallet} {describe(span)}"
        return await self._http.read(
            "/v2/user-volume",
            params,
            what,
            lambda answer: decode_page(answer.json, _Volumes).data.trade_count,
        )

    async def horizon(self) -> Horizon:
        """The horizon by the source's status and clock; raises SourceError."""
        said = await self._http.read(
            "/v2/status",
            {},
            "the source's status",
            lambda answer: freshness(answer, MARGIN, self._feed.label, self._endpoint.mechanisms),
        )
        return horizon(said, self._feed.label, now=self._now(), max_lag=self._max_lag)

    def _page(self, answer: Answer) -> Page:
        body = decode_page(answer.json, _Body)
        if body.pagination.next_cursor is not None and not body.pagination.has_more:
            raise ContractBroken("a cursor to more pages, but no more were promised")
        read = read_rows(self._feed.shapes.of(POLYMARKET), body.data)
        return Page(
            rows=read.rows,
            has_more=body.pagination.has_more,
            cursor=body.pagination.next_cursor,
            limit=self._endpoint.limit,
            requests=answer.requests,
            unknown_fields=read.unknown_fields,
            oddities=read.oddities,
            seconds=answer.seconds,
        )
