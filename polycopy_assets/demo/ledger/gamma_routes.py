"""`/markets/keyset` of Gamma, Polymarket's API for what markets are about.

Traps of the real one are kept: closed markets are hidden unless they are asked for, also by id;
lists stand as JSON in strings; `offset` is refused; `order=volume` sorts text. The largest page is
not documented: here it is 100, and more is cut to that.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo.contract import fingerprint, whole_number
from polycopy_assets.demo.entry import MICRO
from polycopy_assets.demo.ledger.catalogue import Catalogue
from polycopy_assets.demo.market import OUTCOMES, MarketFacts
from polycopy_assets.demo.places import Place
from polycopy_assets.demo.state import State, json, trade_route

MOST = 100
DEFAULT = 20
REBATE = 0.2


def _volume(market: MarketFacts) -> int:
    return int(market.condition_id[2:8], 16)


LISTS: Mapping[str, Callable[[MarketFacts], Sequence[str]]] = {
    "condition_ids": lambda market: (market.condition_id,),
    "clob_token_ids": lambda market: market.tokens,
    "slug": lambda market: (market.slug,),
    "id": lambda market: (str(market.number),),
    "question_ids": lambda market: (market.question_id,),
}
"""Filters that can be sent several times: the market has one of the values."""

ORDERS: Mapping[str, Callable[[MarketFacts], Any]] = {
    "id": lambda market: market.number,
    "startDate": lambda market: market.created,
    "endDate": lambda market: market.ends,
    "slug": lambda market: market.slug,
    "volume": lambda market: str(_volume(market)),
    "volumeNum": _volume,
}
_OTHERS = frozenset(
    {"closed", "tag_id", "order", "ascending", "include_tag", "limit", "after_cursor"}
)
_DATES = frozenset({"start_date_min", "start_date_max", "end_date_min", "end_date_max"})


class _Refused(Exception):
    """A request that Gamma does not accept, and why."""


def routes(state: State, catalogue: Catalogue) -> list[Route]:
    """The route over `state`."""

    async def markets(request: Request) -> Response:
        try:
            return _markets(state, catalogue, request.query_params)
        except _Refused as error:
            return json({"type": "validation error", "error": str(error)}, 422)

    return [
        Route("/markets/keyset", trade_route(state, markets, arrived=state.counts.board_arrived))
    ]


def _markets(state: State, catalogue: Catalogue, params: QueryParams) -> Response:
    for name in params:
        if name not in LISTS and name not in _OTHERS and name not in _DATES:
            raise _Refused(f"{name} is not supported on keyset listings")
    at = time.time()
    closed = _flag(params, "closed", default=False)
    found = [
        market
        for market in _candidates(catalogue, params)
        if market.resolved(at) == closed
        and market.created <= at - state.labels.lag
        and _has(market, params)
        and _dated(market, params)
    ]
    order = params.get("order", "id")
    if order not in ORDERS:
        raise _Refused(f"order is one of {', '.join(ORDERS)}")
    descending = not _flag(params, "ascending", default=order == "id")
    found.sort(key=lambda market: (ORDERS[order](market), market.number), reverse=descending)
    sent = [(name, value) for name, value in params.multi_items()]
    filters = fingerprint({f"{n}={v}": "" for n, v in sent if n not in ("after_cursor", "limit")})
    start, limit = _place(params, filters)
    rows = [_row(m, at, with_tags="include_tag" in params) for m in found[start : start + limit]]
    body: dict[str, Any] = {"markets": rows}
    if start + limit < len(found):
        body["next_cursor"] = Place(("markets", filters), limit, start + limit).encode()
    return json(body)


def _candidates(catalogue: Catalogue, params: QueryParams) -> list[MarketFacts]:
    """The markets with the ids that are asked for, or all."""
    if "condition_ids" in params:
        asked = [catalogue.condition(each) for each in set(params.getlist("condition_ids"))]
    elif "clob_token_ids" in params:
        asked = [catalogue.token(each) for each in params.getlist("clob_token_ids")]
    else:
        return catalogue.all()
    return list({market.number: market for market in asked if market}.values())


def _place(params: QueryParams, filters: str) -> tuple[int, int]:
    """Where the page starts, and how many rows it has at most."""
    try:
        limit = min(whole_number(params.get("limit"), DEFAULT) or DEFAULT, MOST)
        if not params.get("after_cursor"):
            return 0, limit
        place = Place.decode(params["after_cursor"])
    except ValueError as error:
        raise _Refused(f"not valid: {error}") from error
    if place.board != ("markets", filters):
        raise _Refused("after_cursor is of another listing")
    return place.offset, limit


def _flag(params: QueryParams, name: str, *, default: bool) -> bool:
    value = params.get(name, str(default).lower()).lower()
    if value not in ("true", "false"):
        raise _Refused(f"{name} is true or false")
    return value == "true"


def _has(market: MarketFacts, params: QueryParams) -> bool:
    tag = params.get("tag_id")
    return (tag is None or tag in [t["id"] for t in _tags(market)]) and all(
        any(value.lower() in params.getlist(name) for value in values_of(market))
        for name, values_of in LISTS.items()
        if name in params
    )


def _dated(market: MarketFacts, params: QueryParams) -> bool:
    moments = {"start": market.created, "end": market.ends}
    for name, value in params.items():
        if name in _DATES and value:
            try:
                bound = datetime.fromisoformat(value).timestamp()
            except ValueError as error:
                raise _Refused(f"{name} is not a time") from error
            moment = moments[name.partition("_")[0]]
            if moment < bound if name.endswith("min") else moment > bound:
                return False
    return True


def _row(market: MarketFacts, at: float, *, with_tags: bool) -> dict[str, Any]:
    closed = market.resolved(at)
    prices = [f"{market.price(outcome, at) / MICRO:g}" for outcome in (0, 1)]
    row: dict[str, Any] = {
        "id": str(market.number),
        "conditionId": market.condition_id,
        "questionID": market.question_id,
        "slug": market.slug,
        "question": market.question,
        "category": market.category,
        "icon": "",
        "outcomes": _text(OUTCOMES),
        "outcomePrices": _text(prices),
        "clobTokenIds": _text(market.tokens),
        "negRisk": bool(market.neg_risk_id),
        "negRiskMarketID": market.neg_risk_id,
        "startDate": _time(market.created),
        "endDate": _time(market.ends),
        "closedTime": _time(market.resolved_at) if closed and market.resolved_at else None,
        "umaResolutionStatus": "resolved" if closed else "",
        "active": True,
        "closed": closed,
        "archived": False,
        "volume": str(_volume(market)),
        "volumeNum": _volume(market),
        "feesEnabled": market.fee > 0,
        "events": [
            {
                "id": str(market.event_id),
                "slug": market.event_slug,
                "title": market.event_title,
            }
        ],
    }
    if market.fee:
        rate = market.fee / 10_000
        row["feeSchedule"] = {
            "exponent": 1,
            "rate": rate,
            "takerOnly": True,
            "rebateRate": REBATE,
        }
    if with_tags:
        row["tags"] = _tags(market)
    return row


def _tags(market: MarketFacts) -> list[dict[str, str]]:
    if not market.category:
        return []
    number = 1 + sum(market.category.encode()) % 1000
    return [{"id": str(number), "slug": market.category, "label": market.category.capitalize()}]


def _text(values: Sequence[str]) -> str:
    return msgspec.json.encode(values).decode()


def _time(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
