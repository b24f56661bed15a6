"""The contract of Dome's `GET /polymarket/orders`, implemented by gateways that adopted it.

Dome itself closed in April 2026. Bearer key; cursor `pagination_key`; rows carry a log index.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from polycopy_assets.sources.http import Answer, Http
from polycopy_assets.sources.rows import decode_page, read_rows
from polycopy_assets.trades.horizon import Freshness, Horizon, horizon
from polycopy_assets.trades.interval import Interval, describe
from polycopy_assets.trades.page import Page
from polycopy_assets.trades.shapes import DOME, SHAPES

LIMIT = 1000
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
    """Trades of a wallet from a gateway that speaks Dome's contract."""

    name = DOME

    def __init__(self, http: Http, *, now: Callable[[], float] = time.time) -> None:
        self._http = http
        self._now = now

    @property
    def at_once(self) -> int:
        """How many requests at the same time are of use now."""
        return self._http.at_once

    async def page(self, wallet: str, span: Interval, cursor: str | None) -> Page:
        """At most 1,000 orders of `wallet` in `span`, newest first; raises SourceError."""
        start = max(span.start, 1)
        params: dict[str, str | int] = {
            "user": wallet,
            "limit": LIMIT,
            "start_time": start,
            # The contract wants start < end: a single second is requested together with the next.
            "end_time": max(span.until - 1, start + 1),
        }
        if cursor is not None:
            params["pagination_key"] = cursor
        page = await self._http.read(
            "/polymarket/orders",
            params,
            f"orders of {wallet} in {describe(span)}",
            _page,
            new=cursor is None,
        )
        if span.until - 1 <= start:
            return page._replace(rows=[row for row in page.rows if row.timestamp < span.until])
        return page

    async def horizon(self) -> Horizon:
        """The horizon by the gateway's clock; a small request shows that gateway and key work."""
        said = await self._http.read(
            "/polymarket/orders",
            {"user": _NOBODY, "limit": 1},
            "a first, small request",
            lambda answer: Freshness(date=answer.date, cached=answer.age, margin=MARGIN),
        )
        return horizon(said, now=self._now())


def _page(answer: Answer) -> Page:
    body = decode_page(answer.json, _Body)
    read = read_rows(SHAPES[DOME], body.orders)
    return Page(
        rows=read.rows,
        has_more=body.pagination.has_more,
        cursor=body.pagination.pagination_key,
        limit=LIMIT,
        requests=answer.requests,
        unknown_fields=read.unknown_fields,
        oddities=read.oddities,
        seconds=answer.seconds,
    )
