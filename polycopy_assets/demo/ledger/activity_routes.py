"""`/v2/activity`, as strict as Polymarket's Data API v2.

Traps of the real one are kept: deposits and withdrawals are dropped by default, even when they are
named; tips come only when they are named; a missing `start` means three years.
"""

import bisect
from collections.abc import Iterator, Mapping
from operator import attrgetter

from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo import lies
from polycopy_assets.demo.contract import Cursor, Walked, Window
from polycopy_assets.demo.endless import ENDLESS, endless_page
from polycopy_assets.demo.entry import FLOWS, TIP, TYPES, Entry, activity_row
from polycopy_assets.demo.feed import read_window, refusal, rows_page
from polycopy_assets.demo.freshness import now
from polycopy_assets.demo.params import (
    CONDITION,
    NUMBER,
    Invalid,
    choice,
    flag,
    known,
    only_one_of,
    several,
    v2_handler,
)
from polycopy_assets.demo.state import State, trade_route
from polycopy_assets.demo.world import entry_of

FEED = "activity"
MOST_CONDITIONS = 20
_KNOWN = frozenset(
    {
        "user",
        "limit",
        "cursor",
        "type",
        "exclude_deposits_withdrawals",
        "start",
        "end",
        "sort_by",
        "sort_direction",
        "condition",
        "event_id",
        "side",
    }
)
_POSITION = attrgetter("position")


class ActivityQuery(Window, frozen=True, kw_only=True):
    """What a request for activity asks for.

    `newest` is the latest second that is served, by type; other types are served like trades.
    """

    types: frozenset[str] | None
    flows: bool
    ascending: bool
    side: str | None
    conditions: tuple[str, ...]
    events: tuple[str, ...]
    newest: Mapping[str, int]

    def wants(self, entry: Entry) -> bool:
        """Whether the filters let the row through, and its pipeline has got to it."""
        if entry.type == TIP and self.types is None:
            return False
        return (
            (self.types is None or entry.type in self.types)
            and (self.flows or entry.type not in FLOWS)
            and (self.side is None or entry.side == self.side)
            and (not self.conditions or entry.condition_id.lower() in self.conditions)
            and (not self.events or str(entry.event_id) in self.events)
            and entry.timestamp <= self.newest.get(entry.type, self.newest["TRADE"])
        )


def routes(state: State) -> list[Route]:
    """The route over `state`."""
    handler = v2_handler(lambda params: _activity(state, params))
    return [Route("/v2/activity", trade_route(state, handler, feed_of=feed_of))]


def feed_of(params: Mapping[str, str]) -> str:
    """What feed of ours a request is for: tips alone are one of their own."""
    return "tips" if params.get("type") == TIP else FEED


def _activity(state: State, params: dict[str, str]) -> Response:
    query, cursor = _query(state, params)
    feed = feed_of(params)
    fault = state.faults.of(query.user, feed)
    if refused := refusal(fault):
        return refused
    if fault in ENDLESS:
        made_up = endless_page(
            fault,
            state.world,
            query,
            params.get("cursor"),
            query.newest["TRADE"],
            ascending=query.ascending,
        )
        walked = Walked([entry_of(trade) for trade in made_up.rows], made_up.next_cursor)
    else:
        walked = lies.served(fault, _page(state, query, cursor), state.world, query.user)
    state.served(query, walked.rows, cursor, feed)
    moment = now()
    rows = [activity_row(entry, state.labels, moment) for entry in walked.rows]
    return rows_page(fault, rows, query.limit, walked.next_cursor)


def _query(state: State, params: dict[str, str]) -> tuple[ActivityQuery, Cursor | None]:
    known(params, _KNOWN)
    window, cursor = read_window(state, params, FEED, "sort_direction")
    choice(params, "sort_by", ("TIMESTAMP",), None)
    direction = choice(params, "sort_direction", ("ASC", "DESC"), None)
    if cursor and direction not in (None, "ASC" if cursor.ascending else "DESC"):
        raise Invalid("sort_direction", "contradicts the cursor, which is bound to a direction")
    only_one_of(params, "condition", "event_id")
    moment = now()
    query = ActivityQuery(
        **window,
        types=_types(params),
        flows=not flag(params, "exclude_deposits_withdrawals", default=True),
        ascending=cursor.ascending if cursor else direction == "ASC",
        side=choice(params, "side", ("BUY", "SELL"), None),
        conditions=several(params, "condition", MOST_CONDITIONS, CONDITION),
        events=several(params, "event_id", MOST_CONDITIONS, NUMBER),
        newest={kind: state.freshness.newest_served(moment, kind) for kind in TYPES},
    )
    return query, cursor


def _types(params: Mapping[str, str]) -> frozenset[str] | None:
    """The types that are named; None if none is."""
    named = frozenset(kind for kind in params.get("type", "").split(",") if kind)
    if unknown := sorted(named - set(TYPES)):
        raise Invalid("type", f"unknown: {', '.join(unknown)}")
    return named or None


def _page(state: State, query: ActivityQuery, cursor: Cursor | None) -> Walked[Entry]:
    """The next page; a cursor with other filters is ignored: the walk starts again."""
    if cursor and cursor.filters != query.filters:
        cursor = None
    found: list[Entry] = []
    for entry in _walk(state, query, cursor):
        if query.wants(entry):
            found.append(entry)
        if len(found) > query.limit:
            break
    if len(found) <= query.limit:
        return Walked(found, None)
    last = found[query.limit - 1]
    following = Cursor(
        last.timestamp,
        last.sequence,
        query.limit,
        query.filters,
        feed=FEED,
        ascending=query.ascending,
    )
    return Walked(found[: query.limit], following.encode())


def _walk(state: State, query: ActivityQuery, cursor: Cursor | None) -> Iterator[Entry]:
    """The rows of the window that come after the cursor, in the order that is asked for."""
    entries = state.world.entries(query.user)
    first = bisect.bisect_left(entries, (query.start,), key=_POSITION)
    end = bisect.bisect_left(entries, (query.end + 1,), key=_POSITION)
    if cursor:
        at = (cursor.timestamp, cursor.sequence)
        if query.ascending:
            first = max(first, bisect.bisect_right(entries, at, key=_POSITION))
        else:
            end = min(end, bisect.bisect_left(entries, at, key=_POSITION))
    order = range(first, end) if query.ascending else range(end - 1, first - 1, -1)
    for index in order:
        yield entries[index]
