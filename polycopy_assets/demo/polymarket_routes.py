"""`/v2/trades`, `/v2/status` and `/v2/user-volume`, as strict as Polymarket's Data API v2."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo import lies
from polycopy_assets.demo.contract import Cursor, Query, page
from polycopy_assets.demo.endless import ENDLESS, endless_page
from polycopy_assets.demo.feed import DAY, read_window, refusal, rows_page
from polycopy_assets.demo.freshness import now
from polycopy_assets.demo.params import amount, choice, flag, known, user_of, v2_handler, whole
from polycopy_assets.demo.state import State, json, trade_route, v2_error
from polycopy_assets.demo.world import SMALLEST_SHARES, v2_row

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


def routes(state: State) -> list[Route]:
    """The routes over `state`."""

    async def status(_: Request) -> Response:
        if state.down:
            return v2_error(503, "dependency_unavailable", "down")
        return json({"data": state.freshness.data(now())})

    trades = v2_handler(lambda params: _trades(state, params))
    volume = v2_handler(lambda params: _volume(state, params))
    return [
        Route("/v2/trades", trade_route(state, trades)),
        Route("/v2/status", status),
        Route("/v2/user-volume", trade_route(state, volume, arrived=state.counts.count_arrived)),
    ]


def _trades(state: State, params: dict[str, str]) -> Response:
    query, cursor = _query(state, params)
    fault = state.faults.of(query.user)
    if refused := refusal(fault):
        return refused
    if fault in ENDLESS:
        mark = params.get("cursor")
        walked = endless_page(fault, state.world, query, mark, state.newest_served)
    else:
        whole = page(state.world, query, cursor, state.newest_served)
        walked = lies.served(fault, whole, state.world, query.user)
    state.served(query, walked.rows, cursor)
    rows = [v2_row(trade) for trade in walked.rows]
    return rows_page(fault, rows, query.limit, walked.next_cursor)


def _query(state: State, params: dict[str, str]) -> tuple[Query, Cursor | None]:
    known(params, _KNOWN)
    window, cursor = read_window(state, params, "trades")
    least = _amount(params)
    cash = params.get("filter_type", "TOKENS") == "CASH"
    query = Query(
        **window,
        taker_only=flag(params, "taker_only", default=True),
        smallest=0.0 if cash or least <= SMALLEST_SHARES else least,
        smallest_cash=least if cash else 0.0,
        side=choice(params, "side", ("BUY", "SELL"), None),
        conditions=tuple(c for c in params.get("condition", "").split(",") if c),
    )
    return query, cursor


def _amount(params: dict[str, str]) -> float:
    choice(params, "filter_type", ("TOKENS", "CASH"), None)
    return amount(params, "filter_amount", 0.0) or SMALLEST_SHARES


def _volume(state: State, params: dict[str, str]) -> Response:
    user = user_of(params)
    start, end = whole(params, "start", 0), whole(params, "end", 0)
    fault = state.faults.of(user)
    if refused := refusal(fault):
        return refused
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
