"""`/polymarket/orders`, as strict as Dome's contract."""

import hmac
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo.broken import Names, break_page
from polycopy_assets.demo.contract import (
    Cursor,
    Query,
    fingerprint,
    page,
    read_cursor,
    whole_number,
)
from polycopy_assets.demo.endless import ENDLESS, endless_page
from polycopy_assets.demo.state import State, json, trade_route
from polycopy_assets.demo.world import dome_row

MOST = 1000
LARGEST_OFFSET = 10_000
FOREVER = 10**10
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_NAMES = Names("user", "pagination_key")


class _Refused(Exception):
    """An answer that is an error: status, `error` and `message`."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(error)
        self.response = json({"error": error, "message": message}, status)


def routes(state: State) -> list[Route]:
    """The route over `state`."""

    async def orders(request: Request) -> Response:
        try:
            return _orders(state, request)
        except _Refused as refused:
            return refused.response

    return [Route("/polymarket/orders", trade_route(state, orders, dome_error))]


def dome_error(status: int, code: str, text: str) -> Response:
    """An error in the shape of Dome's contract."""
    return json({"error": code, "message": text}, status)


def _orders(state: State, request: Request) -> Response:
    expected = f"Bearer {state.dome_key}"
    if not hmac.compare_digest(
        request.headers.get("authorization", "").encode(), expected.encode()
    ):
        raise _Refused(401, "Unauthorized", "Invalid or missing API key")
    query, cursor = _query(dict(request.query_params), state.faults.wallets)
    fault = state.faults.of(query.user)
    if fault and fault.isdigit():
        raise _Refused(int(fault), "Refused", "this wallet is refused")
    if fault in ENDLESS:
        mark = request.query_params.get("pagination_key")
        walked = endless_page(fault, state.world, query, mark, state.newest_served)
    else:
        walked = page(state.world, query, cursor, state.newest_served)
    rows = [dome_row(trade) for trade in walked.rows]
    pagination: dict[str, Any] = {
        "limit": query.limit,
        "offset": 0,
        "total": len(state.world.truth(query.user)),
        "has_more": walked.next_cursor is not None,
    }
    if walked.next_cursor:
        pagination["pagination_key"] = walked.next_cursor
    body = {"orders": rows, "pagination": pagination}
    break_page(fault, body, rows, query.limit, _NAMES)
    state.served(query, walked.rows, cursor)
    return json(body)


def _query(params: dict[str, str], broken: dict[str, str]) -> tuple[Query, Cursor | None]:
    if _whole(params, "offset", 0) > LARGEST_OFFSET:
        raise _Refused(
            401,
            "Offset deprecated",
            "Offsets greater than 10,000 are no longer supported. Please use pagination_key.",
        )
    user = params.get("user", "")
    if not _ADDRESS.fullmatch(user):
        raise _Refused(400, "Missing required filter parameter", "user is needed")
    start, end = _whole(params, "start_time", 0), _whole(params, "end_time", FOREVER)
    if start >= end:
        raise _Refused(400, "Invalid time range", "start_time must be before end_time")
    limit = _whole(params, "limit", 100)
    if not 1 <= limit <= MOST:
        raise _Refused(400, "Invalid limit parameter", f"1 to {MOST}")
    try:
        cursor = read_cursor(params.get("pagination_key"), or_none=user.lower() in broken)
    except ValueError as error:
        raise _Refused(400, "Invalid pagination key", "not a key of this API") from error
    filters = fingerprint(params, "pagination_key", "limit")
    return Query(user=user.lower(), start=start, end=end, limit=limit, filters=filters), cursor


def _whole(params: dict[str, str], name: str, default: int) -> int:
    try:
        return whole_number(params.get(name), default)
    except ValueError as error:
        raise _Refused(400, f"Invalid {name} parameter", str(error)) from error
