"""The board routes of Data API v2, and Gamma's lookup of a slug, as strict as the real ones.

A cursor hides an offset and is bound to its board: restating the same is accepted, anything else
refused. A board moves by `State.board_shift` rows between two pages of a walk, as a refresh in
mid-walk does: rows come again, or, if it is negative, are skipped.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo import boards
from polycopy_assets.demo.contract import whole_number
from polycopy_assets.demo.state import State, json, trade_route, v2_error

MOST = 1000
MOST_WITH_PNL = 100
MOST_CONDITIONS = 20
_KEY = b"the sample API signs the cursors of its boards too"
_CONDITION = re.compile(r"0x[0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class _Invalid(ValueError):
    """A parameter that the API refuses, and which."""

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(reason)
        self.parameter = parameter


class Place(msgspec.Struct, frozen=True):
    """Where a walk over a board stands: the board, the page size, the offset."""

    board: tuple[str, ...]
    limit: int
    offset: int

    def encode(self) -> str:
        """Opaque and signed."""
        body = msgspec.json.encode(self)
        return urlsafe_b64encode(_sign(body) + body).decode()

    @staticmethod
    def decode(text: str) -> "Place":
        """The place that `text` holds; raises ValueError for a cursor that is not ours."""
        data = urlsafe_b64decode(text.encode())
        signature, body = data[:16], data[16:]
        if not hmac.compare_digest(signature, _sign(body)):
            raise ValueError("not a cursor of this API")
        return msgspec.json.decode(body, type=Place)


def routes(state: State) -> list[Route]:
    """The routes over `state`."""

    def route(path: str, answer: Callable[[State, dict[str, str]], Response]) -> Route:
        async def handler(request: Request) -> Response:
            try:
                return answer(state, dict(request.query_params))
            except _Invalid as error:
                return v2_error(400, "invalid_request", str(error), parameter=error.parameter)

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
    _known(params, {"time_period", "category", "sort_by", "limit", "cursor", "user"})
    if "user" in params:
        return _standing(state, params)
    place = _place("leaderboard", params, {"time_period": "day", "sort_by": "PNL"})
    _, window, category, by = place.board
    if by not in ("PNL", "VOLUME"):
        raise _Invalid("sort_by", "sort_by must be PNL or VOLUME")
    rows = boards.leaderboard(state.world, _window(window), category, by)
    return _page(state, place, {"": rows}, lambda parts: parts[""])


def _standing(state: State, params: Mapping[str, str]) -> Response:
    """One wallet's two ranks; null if it is on no board. Order, limit and cursor do not apply."""
    if not _ADDRESS.fullmatch(params["user"]):
        raise _Invalid("user", "not an address")
    board = _window(params.get("time_period", "day")), params.get("category", boards.OVERALL)
    found = {
        by: row
        for by in ("PNL", "VOLUME")
        for row in boards.leaderboard(state.world, *board, by)
        if row["user_id"].lower() == params["user"].lower()
    }
    if not found:
        return json({"data": None})
    ranks = {f"rank_{by.lower()}": row["rank"] for by, row in found.items()}
    about = {name: value for name, value in found["PNL"].items() if name != "rank"}
    return json({"data": {**about, **ranks}})


def _winners(state: State, params: dict[str, str]) -> Response:
    _known(params, {"time_period", "category", "limit", "cursor"})
    place = _place("biggest_winners", params, {"time_period": "day"})
    _, window, category = place.board
    rows = boards.winners(state.world, _window(window), category)
    return _page(state, place, {"": rows}, lambda parts: parts[""])


def _holders(state: State, params: dict[str, str]) -> Response:
    for alias in ("condition_id", "conditionId"):
        params = {"condition" if name == alias else name: text for name, text in params.items()}
    _known(params, {"condition", "limit", "cursor", "include_pnl"})
    conditions = sorted({c.lower() for c in params.get("condition", "").split(",") if c})
    with_pnl = params.get("include_pnl", "false")
    if with_pnl not in ("true", "false"):
        raise _Invalid("include_pnl", "true or false")
    if not conditions:
        raise _Invalid("condition", "required query param 'condition' not provided")
    if len(conditions) > (1 if with_pnl == "true" else MOST_CONDITIONS):
        raise _Invalid("condition", "too many condition ids")
    for condition in conditions:
        if not _CONDITION.fullmatch(condition):
            raise _Invalid("condition", f"invalid condition id: {condition}")
    place = _holders_place(params)
    if with_pnl == "true" and place.limit > MOST_WITH_PNL:
        raise _Invalid("limit", f"at most {MOST_WITH_PNL} with include_pnl")
    found: dict[str, list[dict[str, Any]]] = {}
    for condition in conditions:
        found |= boards.holders(state.world, condition)

    def grouped(parts: Mapping[str, list[Any]]) -> list[Any]:
        return [{"token_id": token, "holders": rows} for token, rows in parts.items() if rows]

    return _page(state, place, found, grouped)


def _known(params: Mapping[str, str], names: Collection[str]) -> None:
    for name in params:
        if name not in names:
            raise _Invalid(name, "unknown parameter")


def _window(text: str) -> str:
    if text not in boards.WINDOWS:
        raise _Invalid("time_period", "time_period must be one of day, week, month, all")
    return text


def _limit(params: Mapping[str, str]) -> int:
    try:
        limit = whole_number(params.get("limit"), 100) or 100
    except ValueError as error:
        raise _Invalid("limit", str(error)) from error
    if limit > MOST:
        raise _Invalid("limit", f"at most {MOST}")
    return limit


def _cursor(params: Mapping[str, str], kind: str) -> Place | None:
    """The place that the cursor names, if there is one; its page size wins over `limit`."""
    text = params.get("cursor")
    if not text:
        return None
    try:
        place = Place.decode(text)
    except ValueError as error:
        raise _Invalid("cursor", "invalid cursor") from error
    if place.board[0] != kind:
        raise _Invalid("cursor", "invalid cursor")
    return place


def _place(kind: str, params: Mapping[str, str], defaults: Mapping[str, str]) -> Place:
    """Where to read a board; a parameter that contradicts the cursor is refused."""
    names = ("time_period", "category", "sort_by")
    defaults = {"category": boards.OVERALL, **defaults}
    board = [(name, params.get(name, defaults[name])) for name in names if name in defaults]
    place = _cursor(params, kind)
    if place is None:
        return Place((kind, *(value for _, value in board)), _limit(params), 0)
    for (name, value), pinned in zip(board, place.board[1:], strict=True):
        if name in params and value != pinned:
            raise _Invalid(name, f"{name} contradicts the cursor, which is pinned to {pinned}")
    return place


def _holders_place(params: Mapping[str, str]) -> Place:
    """The same for holders: their cursor carries the window alone, and needs the condition."""
    return _cursor(params, "holders") or Place(("holders",), _limit(params), 0)


def _page(
    state: State,
    place: Place,
    lists: Mapping[str, list[Any]],
    shown: Callable[[Mapping[str, list[Any]]], list[Any]],
) -> Response:
    """A page of all `lists` at once; each after the first is shifted by the board's move."""
    start = max(0, place.offset - (state.board_shift if place.offset else 0))
    until = start + place.limit
    more = any(len(rows) > until for rows in lists.values())
    following = Place(place.board, place.limit, until).encode() if more else None
    return json(
        {
            "data": shown({name: rows[start:until] for name, rows in lists.items()}),
            "pagination": {
                "limit": place.limit,
                "offset": start,
                "has_more": more,
                "next_cursor": following,
            },
        }
    )


def _sign(body: bytes) -> bytes:
    return hmac.digest(_KEY, body, hashlib.sha256)[:16]
