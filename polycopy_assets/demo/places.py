"""Listings whose cursor hides an offset, and is bound to what it was given for.

Restating the same is accepted, anything else refused.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from polycopy_assets.demo.contract import sign
from polycopy_assets.demo.params import Invalid, whole
from polycopy_assets.demo.state import json

MOST = 1000
_KEY = b"the sample API signs the cursors of its boards too"


class Place(msgspec.Struct, frozen=True):
    """Where a walk over a board stands: the board, the page size, the offset."""

    board: tuple[str, ...]
    limit: int
    offset: int

    def encode(self) -> str:
        """Opaque and signed."""
        body = msgspec.json.encode(self)
        return urlsafe_b64encode(sign(body, _KEY) + body).decode()

    @staticmethod
    def decode(text: str) -> "Place":
        """The place that `text` holds; raises ValueError for a cursor that is not ours."""
        data = urlsafe_b64decode(text.encode())
        signature, body = data[:16], data[16:]
        if not hmac.compare_digest(signature, sign(body, _KEY)):
            raise ValueError("not a cursor of this API")
        return msgspec.json.decode(body, type=Place)


def limit_of(params: Mapping[str, str]) -> int:
    """The page size that is asked for."""
    limit = whole(params, "limit", 100) or 100
    if limit > MOST:
        raise Invalid("limit", f"at most {MOST}")
    return limit


def read_place(params: Mapping[str, str], kind: str) -> Place | None:
    """The place that the cursor names, if there is one; its page size wins over `limit`."""
    text = params.get("cursor")
    if not text:
        return None
    try:
        place = Place.decode(text)
    except ValueError as error:
        raise Invalid("cursor", "invalid cursor") from error
    if place.board[0] != kind:
        raise Invalid("cursor", "invalid cursor")
    return place


def pinned_place(params: Mapping[str, str], kind: str, asked: Mapping[str, str]) -> Place:
    """Where to read on; a parameter that contradicts the cursor is refused."""
    place = read_place(params, kind)
    if place is None:
        return Place((kind, *asked.values()), limit_of(params), 0)
    for (name, value), pinned in zip(asked.items(), place.board[1:], strict=True):
        if name in params and value != pinned:
            raise Invalid(name, f"{name} contradicts the cursor, which is pinned to {pinned}")
    return place


def page_of(
    place: Place,
    lists: Mapping[str, list[Any]],
    shown: Callable[[Mapping[str, list[Any]]], list[Any]],
    *,
    shift: int,
) -> Response:
    """A page of all `lists` at once; a refresh in mid-walk moves them by `shift` rows."""
    start = max(0, place.offset - (shift if place.offset else 0))
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
