"""What the feeds of Data API v2 have in common: the window asked for, and a page of rows."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from polycopy_assets.demo.broken import Names, break_page
from polycopy_assets.demo.contract import Cursor, Window, fingerprint, read_cursor
from polycopy_assets.demo.params import Invalid, user_of, whole
from polycopy_assets.demo.state import State, json, v2_error

THREE_YEARS = 3 * 365 * 86_400
DAY = 86_400
MOST = 1000
_CODES = {
    "400": "invalid_request",
    "401": "unauthorized",
    "404": "not_found",
    "500": "internal",
}
_NAMES = Names("proxy_wallet", "next_cursor")


def read_window(
    state: State, params: Mapping[str, str], feed: str, *unbound: str
) -> tuple[dict[str, Any], Cursor | None]:
    """The fields of a `Window` as they are asked for, and where to read on.

    Parameters that are `unbound` are no filters: a cursor says itself what they were.
    """
    user = user_of(params).lower()
    now = int(time.time())
    try:
        # A wallet that is set to break the contract gets cursors that are not signed.
        broken = state.faults.named(user, feed) is not None
        cursor = read_cursor(params.get("cursor"), or_none=broken, feed=feed)
    except ValueError as error:
        raise Invalid("cursor", "not a cursor of this API") from error
    limit = whole(params, "limit", 100)
    if limit > MOST and cursor is None:
        raise Invalid("limit", f"at most {MOST}")
    window = Window(
        user=user,
        start=whole(params, "start", 0) or now - THREE_YEARS,
        end=whole(params, "end", 0) or now + DAY,
        limit=cursor.limit if cursor else limit or 100,
        filters=fingerprint(params, "cursor", "limit", *unbound),
    )
    return msgspec.structs.asdict(window), cursor


def refusal(fault: str | None) -> Response | None:
    """The error that a wallet gets every time, if it is set to get one."""
    if fault and fault.isdigit():
        return v2_error(int(fault), _CODES[fault], "this wallet is refused")
    return None


def rows_page(
    fault: str | None, rows: list[dict[str, Any]], limit: int, next_cursor: str | None
) -> Response:
    """A page of a feed, with the fault of its wallet."""
    body: dict[str, Any] = {
        "data": rows,
        "pagination": {
            "limit": limit,
            "offset": 0,
            "has_more": next_cursor is not None,
            "next_cursor": next_cursor,
        },
    }
    break_page(fault, body, rows, limit, _NAMES)
    return json(body)
