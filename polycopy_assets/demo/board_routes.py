"""The board routes of Data API v2, and Gamma's lookup of a slug, as strict as the real ones.

A cursor hides an offset and is bound to its board: restating the same is accepted, anything else
refused. A board moves by `State.board_shift` rows between two pages of a walk, as a refresh in
mid-walk does: rows come again, or, if it is negative, are skipped.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo import boards
from polycopy_assets.demo.params import Invalid, known, user_of, v2_handler
from polycopy_assets.demo.places import Place, page_of, pinned_place
from polycopy_assets.demo.state import State, json, trade_route

MOST_WITH_PNL = 100
MOST_CONDITIONS = 20
_CONDITION = re.compile(r"0x[0-9a-fA-F]{64}")


def routes(state: State) -> list[Route]:
    """The routes over `state`."""

    def route(path: str, answer: Callable[[State, dict[str, str]], Response]) -> Route:
        handler = v2_handler(lambda params: answer(state, params))
        return Route(path, trade_route(state, handler, arrived=state.counts.board_arrived))

    async def market(request: Request) -> Response:
        slug = request.path_params["slug"]
        condition = boards.condition_of(state.world, slug)
        if condition is None:
            return json({"type": "not found error", "error": "slug not found"}, 404)
        return json({"slug": slug, "conditionId": condition, "closed": False})

    return [
        route("/v2/leaderboard", _leaderboard),
        route("/v2/biggest-winners", _winners),
        route("/v2/holders", _holders),
        Route(
            "/markets/slug/{slug}",
            trade_route(state, market, arrived=state.counts.board_arrived),
        ),
    ]


def _leaderboard(state: State, params: dict[str, str]) -> Response:
    known(params, {"time_period", "category", "sort_by", "limit", "cursor", "user"})
    if "user" in params:
        return _standing(state, params)
    place = _place("leaderboard", params, {"time_period": "day", "sort_by": "PNL"})
    _, window, category, by = place.board
    if by not in ("PNL", "VOLUME"):
        raise Invalid("sort_by", "sort_by must be PNL or VOLUME")
    rows = boards.leaderboard(state.world, _window(window), category, by)
    return page_of(place, {"": rows}, lambda parts: parts[""], shift=state.board_shift)


def _standing(state: State, params: Mapping[str, str]) -> Response:
    """One wallet's two ranks; null if it is on no board. Order, limit and cursor do not apply."""
    user = user_of(params).lower()
    board = _window(params.get("time_period", "day")), params.get("category", boards.OVERALL)
    found = {
        by: row
        for by in ("PNL", "VOLUME")
        for row in boards.leaderboard(state.world, *board, by)
        if row["user_id"].lower() == user
    }
    if not found:
        return json({"data": None})
    ranks = {f"rank_{by.lower()}": row["rank"] for by, row in found.items()}
    about = {name: value for name, value in found["PNL"].items() if name != "rank"}
    return json({"data": {**about, **ranks}})


def _winners(state: State, params: dict[str, str]) -> Response:
    known(params, {"time_period", "category", "limit", "cursor"})
    place = _place("biggest_winners", params, {"time_period": "day"})
    _, window, category = place.board
    rows = boards.winners(state.world, _window(window), category)
    return page_of(place, {"": rows}, lambda parts: parts[""], shift=state.board_shift)


def _holders(state: State, params: dict[str, str]) -> Response:
    known(params, {"condition", "limit", "cursor", "include_pnl"})
    conditions = sorted({c.lower() for c in params.get("condition", "").split(",") if c})
    with_pnl = params.get("include_pnl", "false")
    if with_pnl not in ("true", "false"):
        raise Invalid("include_pnl", "true or false")
    if not conditions:
        raise Invalid("condition", "required query param 'condition' not provided")
    if len(conditions) > (1 if with_pnl == "true" else MOST_CONDITIONS):
        raise Invalid("condition", "too many condition ids")
    for condition in conditions:
        if not _CONDITION.fullmatch(condition):
            raise Invalid("condition", f"invalid condition id: {condition}")
    place = _holders_place(params)
    if with_pnl == "true" and place.limit > MOST_WITH_PNL:
        raise Invalid("limit", f"at most {MOST_WITH_PNL} with include_pnl")
    found: dict[str, list[dict[str, Any]]] = {}
    for condition in conditions:
        found |= boards.holders(state.world, condition)

    def grouped(parts: Mapping[str, list[Any]]) -> list[Any]:
        return [{"token_id": token, "holders": rows} for token, rows in parts.items() if rows]

    return page_of(place, found, grouped, shift=state.board_shift)


def _window(text: str) -> str:
    if text not in boards.WINDOWS:
        raise Invalid("time_period", "time_period must be one of day, week, month, all")
    return text


def _place(kind: str, params: Mapping[str, str], defaults: Mapping[str, str]) -> Place:
    """Where to read a board; a parameter that contradicts the cursor is refused."""
    names = ("time_period", "category", "sort_by")
    defaults = {"category": boards.OVERALL, **defaults}
    asked = {name: params.get(name, defaults[name]) for name in names if name in defaults}
    return pinned_place(params, kind, asked)


def _holders_place(params: Mapping[str, str]) -> Place:
    """The same for holders: their cursor carries the window alone, and needs the condition."""
    return pinned_place(params, "holders", {})
