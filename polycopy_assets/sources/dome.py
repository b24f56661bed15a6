"""The contract of Dome's `GET /polymarket/orders`, implemented by gateways that adopted it.

Dome itself closed in April 2026. Bearer key; cursor `pagination_key`; rows carry a log index.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from polycopy_assets.feeds.base import Feed
from polycopy_assets.sources.http import Answer, Http
from polycopy_assets.sources.rows import decode_page, read_rows
from polycopy_assets.trades.horizon import Freshness, Horizon, horizon
from polycopy_assets.trades.interval import Interval, describe
from polycopy_assets.trades.page import Page
from polycopy_assets.trades.shapes import DOME

MARGIN = 900
"""The last seconds before the gateway's clock are not trusted: a gateway does not report its
lag."""

_NOBODY = "0x" + "0" * 40


class _Pagination(msgspec.Struct):
    has_more: bool
    pagination_key: str | None = None


class _Body(msgspec.Struct):
    orders: list[msgspec.Raw]
    pagination: _Pagination


def explain(status: int, body: Mapping[str, Any]) -> str | None:
    """Distinguishes a 401 about paging from a 401 about the key."""
    if status != 401:  # noqa: PLR2004
        return None
    if "offset" in str(body.get("error", "")).lower():
        return "401 Offset deprecated: a limit of paging, not of the API key"
    return "401: the API key in DOME_API_KEY was not accepted"


class Dome:
    """The rows of `feed` from a gateway that speaks Dome's contract."""

    name = DOME

    def __init__(self, http: Http, feed: Feed, *, now: Callable[[], float] = time.time) -> None:
        self._http = http
        self._feed = feed
        self._endpoint = feed.endpoints[DOME]
        self._now = now

    @property
    def at_once(self) -> int:
        """How many requests at the same time are of use now."""
        return self._http.at_once

    async def page(self, wallet: str, span: Interval, cursor: str | None) -> Page:
        """At most a page of `wallet`'s rows in `span`, newest first; raises SourceError."""
        params = dict(self._endpoint.asked(wallet, span))
        if cursor is not None:
            params["pagination_key"] = cursor
        page = await self._http.read(
            self._endpoint.path,
            params,
            f"{self._endpoint.rows} of {wallet} {describe(span)}",
            self._page,
            new=cursor is None,
        )
        if span.until - 1 <= max(span.start, 1):  # it was asked for together with the next second
            return page._replace(rows=[row for row in page.rows if row.timestamp < span.until])
        return page

    async def horizon(self) -> Horizon:
        """The horizon by the gateway's clock; a small request shows that gateway and key work."""
        said = await self._http.read(
            self._endpoint.path,
            {"user": _NOBODY, "limit": 1},
            "a first, small request",
            lambda answer: Freshness(date=answer.date, cached=answer.age, margin=MARGIN),
        )
        return horizon(said, self._feed.label, now=self._now())

    def _page(self, answer: Answer) -> Page:
        body = decode_page(answer.json, _Body)
        read = read_rows(self._feed.shapes.of(DOME), body.orders)
        return Page(
            rows=read.rows,
            has_more=body.pagination.has_more,
            cursor=body.pagination.pagination_key,
            limit=self._endpoint.limit,
            requests=answer.requests,
            unknown_fields=read.unknown_fields,
            oddities=read.oddities,
            seconds=answer.seconds,
        )
