"""`/v2/trades`, `/v2/status` and `/v2/user-volume`, as strict as Polymarket's Data API v2."""

import re
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo import lies
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
from polycopy_assets.demo.freshness import now
from polycopy_assets.demo.state import State, json, trade_route, v2_error
from polycopy_assets.demo.world import SMALLEST_SHARES, v2_row

THREE_YEARS = 3 * 365 * 86_400
DAY = 86_400
MOST = 1000
PROTOCOL_CONTRACTS = frozenset(
    {
        "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e",
        "0xc5d563a36ae78145c45a50134d48a1215220f80a",
        "0x4d97dcd97ec945f40cf65f87097ace5ea0476045",
    }
)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_KNOWN = frozenset(
    {
        "user",
        "limit",
        "cursor",
        "start",
        "end",
        "taker_only",
        "filter_type",
        "filter_amount",
        "side",
        "condition",
        "event_id",
    }
)
_CODES = {
    "400": "invalid_request",
    "401": "unauthorized",
    "404": "not_found",
    "500": "internal",
}
_NAMES = Names("proxy_wallet", "next_cursor")


class _Invalid(ValueError):
    """A parameter that the API refuses, and which."""

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(reason)
        self.parameter = parameter


def routes(state: State) -> list[Route]:
    """The routes over `state`."""

    async def trades(request: Request) -> Response:
        return _trades(state, dict(request.query_params))

    async def status(_: Request) -> Response:
        if state.down:
            return v2_error(503, "dependency_unavailable", "down")
        return json({"data": state.freshness.data(now())})

    async def volume(request: Request) -> Response:
        return _volume(state, dict(request.query_params))

    return [
        Route("/v2/trades", trade_route(state, trades)),
        Route("/v2/status", status),
        Route("/v2/user-volume", trade_route(state, volume, arrived=state.counts.count_arrived)),
    ]


def _trades(state: State, params: dict[str, str]) -> Response:
    try:
        query, cursor = _query(params, state.faults.wallets)
    except _Invalid as error:
        return v2_error(400, "invalid_request", str(error), parameter=error.parameter)
    fault = state.faults.of(query.user)
    if fault and fault.isdigit():
        return v2_error(int(fault), _CODES[fault], "this wallet is refused")
    if fault in ENDLESS:
        mark = params.get("cursor")
        walked = endless_page(fault, state.world, query, mark, state.newest_served)
    else:
        walked = lies.served(fault, page(state.world, query, cursor, state.newest_served))
    rows = [v2_row(trade) for trade in walked.trades]
    body: dict[str, Any] = {
        "data": rows,
        "pagination": {
            "limit": query.limit,
            "offset": 0,
            "has_more": walked.next_cursor is not None,
            "next_cursor": walked.next_cursor,
        },
    }
    break_page(fault, body, rows, query.limit, _NAMES)
    state.served(query.user, query.start, query.end, walked.trades, cursor)
    return json(body)


def _query(params: dict[str, str], broken: dict[str, str]) -> tuple[Query, Cursor | None]:
    for name in params:
        if name not in _KNOWN:
            raise _Invalid(name, "unknown parameter")
    user = params.get("user", "")
    if not _ADDRESS.fullmatch(user):
        raise _Invalid("user", "not an address")
    if user.lower() in PROTOCOL_CONTRACTS:
        raise _Invalid("user", "a protocol contract, not a user")
    now = int(time.time())
    try:
        # A wallet that is set to break the contract gets cursors that are not signed.
        cursor = read_cursor(params.get("cursor"), or_none=user.lower() in broken)
    except ValueError as error:
        raise _Invalid("cursor", "not a cursor of this API") from error
    limit = _whole(params, "limit", 100)
    if limit > MOST and cursor is None:
        raise _Invalid("limit", f"at most {MOST}")
    amount = _amount(params)
    cash = params.get("filter_type", "TOKENS") == "CASH"
    query = Query(
        user=user.lower(),
        start=_whole(params, "start", 0) or now - THREE_YEARS,
        end=_whole(params, "end", 0) or now + DAY,
        limit=cursor.limit if cursor else limit or 100,
        filters=fingerprint(params, "cursor", "limit"),
        taker_only=_choice(params, "taker_only", ("true", "false"), "true") == "true",
        smallest=0.0 if cash or amount <= SMALLEST_SHARES else amount,
        smallest_cash=amount if cash else 0.0,
        side=_choice(params, "side", ("BUY", "SELL"), None),
        conditions=tuple(c for c in params.get("condition", "").split(",") if c),
    )
    return query, cursor


def _amount(params: dict[str, str]) -> float:
    _choice(params, "filter_type", ("TOKENS", "CASH"), None)
    try:
        return float(params.get("filter_amount", 0)) or SMALLEST_SHARES
    except ValueError as error:
        raise _Invalid("filter_amount", "not a number") from error


def _whole(params: dict[str, str], name: str, default: int) -> int:
    try:
        return whole_number(params.get(name), default)
    except ValueError as error:
        raise _Invalid(name, str(error)) from error


def _choice(
    params: dict[str, str], name: str, accepted: tuple[str, ...], default: str | None
) -> str | None:
    value = params.get(name, default)
    if value is not None and value not in accepted:
        raise _Invalid(name, f"one of {', '.join(accepted)}")
    return value


def _volume(state: State, params: dict[str, str]) -> Response:
    user = params.get("user", "")
    if not _ADDRESS.fullmatch(user):
        return v2_error(400, "invalid_request", "not an address", parameter="user")
    try:
        start, end = _whole(params, "start", 0), _whole(params, "end", 0)
    except _Invalid as error:
        return v2_error(400, "invalid_request", str(error), parameter=error.parameter)
    fault = state.faults.of(user)
    if fault and fault.isdigit():
        return v2_error(int(fault), _CODES[fault], "this wallet is refused")
    end = end or state.newest_served
    whole_days = [
        trade
        for trade in state.world.truth(user)
        if start // DAY * DAY <= trade.timestamp < (end // DAY + 1) * DAY
    ]
    return json(
        {
            "data": {
                "volume": sum(trade.size for trade in whole_days),
                "volume_usdc": sum(trade.size * trade.price for trade in whole_days),
                "trade_count": lies.counted(fault, whole_days),
            }
        }
    )
