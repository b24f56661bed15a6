"""Both contracts over one world: the same walk, two ways to ask and to answer."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from polycopy_assets.demo.combos import Event
from polycopy_assets.demo.entry import Entry
from polycopy_assets.demo.world import Trade, World

Row = TypeVar("Row", Trade, Entry, Event)

_KEY = b"the sample API signs its cursors so that made-up ones are refused"


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The wallet and the time that a request of any feed asks for.

    `start` and `end` are inclusive, in epoch seconds. `filters` identifies a set of filters as they
    were sent: an omitted bound is the same on every page, though the clock goes on.
    """

    user: str
    start: int
    end: int
    limit: int
    filters: str


class Query(Window, frozen=True, kw_only=True):
    """What a trade request asks for."""

    taker_only: bool = False
    smallest: float = 0.0
    smallest_cash: float = 0.0
    side: str | None = None
    conditions: tuple[str, ...] = ()

    def wants(self, trade: Trade) -> bool:
        """Whether the filters let `trade` through."""
        return (
            not trade.dust
            and trade.size >= self.smallest
            and trade.size * trade.price >= self.smallest_cash
            and not (self.taker_only and trade.maker)
            and (self.side is None or trade.side == self.side)
            and (not self.conditions or trade.condition_id in self.conditions)
        )


class Cursor(msgspec.Struct, frozen=True):
    """Where a walk stands: strictly before `position`, or after, with `limit` rows a page."""

    timestamp: int
    sequence: int
    limit: int
    filters: str
    feed: str = "trades"
    ascending: bool = False

    def encode(self) -> str:
        """Opaque and signed."""
        body = msgspec.json.encode(self)
        return urlsafe_b64encode(sign(body) + body).decode()

    @staticmethod
    def decode(text: str) -> "Cursor":
        """The cursor that `text` holds; raises ValueError for one that is not ours."""
        data = urlsafe_b64decode(text.encode())
        signature, body = data[:16], data[16:]
        if not hmac.compare_digest(signature, sign(body)):
            raise ValueError("not a cursor of this API")
        return msgspec.json.decode(body, type=Cursor)


def fingerprint(params: Mapping[str, str], *without: str) -> str:
    """Identifies a request's filters: its parameters `without` the cursor and the page size."""
    filters = sorted((name, value) for name, value in params.items() if name not in without)
    return hashlib.sha256(msgspec.json.encode(filters)).hexdigest()[:16]


def read_cursor(text: str | None, *, or_none: bool, feed: str = "trades") -> Cursor | None:
    """The cursor in `text`, if there is one; `or_none` lets made-up ones pass as none.

    Raises ValueError for one that is not ours, or of another feed.
    """
    if not text:
        return None
    try:
        cursor = Cursor.decode(text)
    except ValueError:
        if or_none:
            return None
        raise
    if cursor.feed != feed:
        raise ValueError(f"a cursor of {cursor.feed}")
    return cursor


def whole_number(text: str | None, default: int) -> int:
    """The number in `text`, or `default` if it is missing; raises ValueError."""
    if text is None or text == "":
        return default
    if not (text.isascii() and text.isdigit()):
        raise ValueError("not a whole number")
    return int(text)


def sign(body: bytes, key: bytes = _KEY) -> bytes:
    """The signature of a cursor."""
    return hmac.digest(key, body, "sha256")[:16]


class Walked(msgspec.Struct, Generic[Row]):
    """One page of a walk, in the order served."""

    rows: list[Row]
    next_cursor: str | None


def page(world: World, query: Query, cursor: Cursor | None, newest_served: int) -> Walked[Trade]:
    """The next page; a cursor with other filters is ignored: the walk starts again.

    Trades after `newest_served` (epoch seconds) are not in the feed yet.
    """
    if cursor and cursor.filters != query.filters:
        cursor = None
    limit = cursor.limit if cursor else query.limit
    before: tuple[int, ...] = (min(query.end, newest_served) + 1,)
    if cursor:
        before = (cursor.timestamp, cursor.sequence)
    found: list[Trade] = []
    for trade in world.older(query.user, before):
        if trade.timestamp < query.start or len(found) > limit:
            break
        if query.wants(trade):
            found.append(trade)
    if len(found) <= limit:
        return Walked(found, None)
    last = found[limit - 1]
    following = Cursor(last.timestamp, last.sequence, limit, query.filters)
    return Walked(found[:limit], following.encode())
