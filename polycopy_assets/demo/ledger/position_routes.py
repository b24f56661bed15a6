"""`/v2/positions` of one wallet, as strict as Polymarket's Data API v2.

Traps of the real one are kept: closed positions come only with `status=CLOSED`; the others leave
out what is smaller than 0.1 shares; redeemable positions are among the open ones, losers too.
Holders of a market (`condition` without `user`) are not served here.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo.ledger.catalogue import Catalogue
from polycopy_assets.demo.ledger.positions import position_row, positions_of
from polycopy_assets.demo.params import (
    CONDITION,
    NUMBER,
    Invalid,
    amount,
    choice,
    flag,
    known,
    only_one_of,
    several,
    user_of,
    v2_handler,
    whole,
)
from polycopy_assets.demo.places import page_of, pinned_place
from polycopy_assets.demo.state import State, trade_route

STATUSES = ("OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "MERGEABLE", "CLOSED")
SORTS: Mapping[str, str] = {
    "CURRENT_VALUE": "current_value",
    "PRICE": "current_price",
    "TOKENS": "current_size",
    "UNREALIZED_PNL": "unrealized_pnl",
    "REALIZED_PNL": "realized_pnl",
    "TOTAL_PNL": "total_pnl",
    "TIMESTAMP": "last_event_at",
}
DUST = 0.1
LONGEST_TITLE = 200
MOST_SELECTED = 20
_KNOWN = frozenset(
    {
        "user",
        "condition",
        "event_id",
        "status",
        "limit",
        "cursor",
        "sort_by",
        "sort_direction",
        "filter_type",
        "filter_amount",
        "include_archived",
        "title",
        "start",
        "end",
    }
)


def routes(state: State, catalogue: Catalogue) -> list[Route]:
    """The route over `state`."""
    handler = v2_handler(lambda params: _positions(state, catalogue, params))
    return [Route("/v2/positions", trade_route(state, handler, arrived=state.counts.board_arrived))]


def _positions(state: State, catalogue: Catalogue, params: dict[str, str]) -> Response:
    known(params, _KNOWN)
    user = user_of(params)
    only_one_of(params, "condition", "event_id")
    status = choice(params, "status", STATUSES, "OPEN") or "OPEN"
    if status == "CLOSED" and flag(params, "include_archived", default=False):
        raise Invalid("include_archived", "not with CLOSED")
    place = pinned_place(
        params,
        "positions",
        {
            "user": user.lower(),
            "status": status,
            "sort_by": choice(params, "sort_by", SORTS, _first_sort(status)) or "",
            "sort_direction": choice(params, "sort_direction", ("ASC", "DESC"), "DESC") or "",
        },
    )
    _, _, status, sort_by, direction = place.board
    wanted = _wanted(params, status)
    rows = [row for row in _rows(state, catalogue, user) if wanted(row)]
    rows.sort(key=lambda row: (row[SORTS[sort_by]], row["token_id"]), reverse=direction == "DESC")
    return page_of(place, {"": rows}, lambda parts: parts[""], shift=0)


def _first_sort(status: str) -> str:
    return "REALIZED_PNL" if status == "CLOSED" else "CURRENT_VALUE"


def _rows(state: State, catalogue: Catalogue, user: str) -> list[dict[str, Any]]:
    at = time.time()
    entries = [
        entry
        for entry in state.world.entries(user)
        if entry.timestamp <= state.freshness.newest_served(at, entry.type)
    ]
    found = positions_of(entries, catalogue)
    rows: list[dict[str, Any]] = []
    for token, position in found.items():
        market = catalogue.token(token)
        if market is None or not position.bought:
            continue
        opposite = found.get(market.tokens[1 - market.tokens.index(token)])
        pair = bool(position.held and opposite and opposite.held)
        mergeable = pair and not market.resolved(at)
        served = entries[0].served_wallet
        rows.append(position_row(served, token, position, market, at=at, mergeable=mergeable))
    return rows


def _wanted(params: Mapping[str, str], status: str) -> Callable[[dict[str, Any]], bool]:
    """Which rows the filters let through."""
    conditions = several(params, "condition", MOST_SELECTED, CONDITION)
    events = several(params, "event_id", MOST_SELECTED, NUMBER)
    cash = choice(params, "filter_type", ("TOKENS", "CASH"), "TOKENS") == "CASH"
    default = 0.0 if cash or status in ("CLOSED", "MERGEABLE", "REDEEMABLE_LOST") else DUST
    least = amount(params, "filter_amount", default)
    title = params.get("title", "")
    if len(title) > LONGEST_TITLE:
        raise Invalid("title", f"at most {LONGEST_TITLE} characters")
    start, end = whole(params, "start", 0), whole(params, "end", 0)
    of_status: Mapping[str, Callable[[dict[str, Any]], bool]] = {
        "OPEN": lambda row: row["status"] != "CLOSED",
        "REDEEMABLE": lambda row: row["redeemable"],
        "REDEEMABLE_LOST": lambda row: row["redeemable"] and row["current_price"] == 0,
        "MERGEABLE": lambda row: row["mergeable"],
        "CLOSED": lambda row: row["status"] == "CLOSED",
    }

    def wanted(row: dict[str, Any]) -> bool:
        return (
            of_status[status](row)
            and row["current_value" if cash else "current_size"] >= least
            and (not conditions or row["condition_id"] in conditions)
            and (not events or row["event_id"] in events)
            and title.lower() in row["title"].lower()
            and start <= row["last_event_at"] <= (end or row["last_event_at"])
        )

    return wanted
