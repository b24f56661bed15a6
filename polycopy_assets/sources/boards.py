"""Polymarket's boards: `/v2/leaderboard`, `/v2/biggest-winners` and `/v2/holders`.

Contract: https://docs.polymarket.com/api-reference/boards/get-the-trader-leaderboard. No key, no
account. A market's slug is looked up in the market service (Gamma), which is another host.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import TypeVar

import msgspec

from polycopy_assets.boards.board import Asked, Board, Rank, is_condition
from polycopy_assets.boards.walk import BoardPage, Row, Walk
from polycopy_assets.errors import ConfigurationError, ContractBroken
from polycopy_assets.sources.hosts import Sending, two_hosts
from polycopy_assets.sources.http import Answer, Http
from polycopy_assets.sources.polymarket import Polymarket
from polycopy_assets.sources.rows import decode_page
from polycopy_assets.text import quoted

LIMIT = 1000
"""Rows of a page of a board."""

HOLDERS_LIMIT = 100
"""Rows for each outcome's token; more is refused where PnL is asked for."""

T = TypeVar("T")


class _Pagination(msgspec.Struct):
    has_more: bool
    next_cursor: str | None = None


class _Trader(msgspec.Struct):
    rank: Rank
    user_id: str
    pnl: float | None = None
    volume: float | None = None
    user_name: str | None = None

    @property
    def row(self) -> Row:
        return Row(
            wallet=self.user_id,
            rank=self.rank,
            name=self.user_name or "",
            pnl=self.pnl,
            volume=self.volume,
        )


class _Win(msgspec.Struct):
    win_rank: Rank
    user_id: str
    pnl: float | None = None
    user_name: str | None = None

    @property
    def row(self) -> Row:
        return Row(wallet=self.user_id, rank=self.win_rank, name=self.user_name or "", pnl=self.pnl)


class _Holder(msgspec.Struct):
    proxy_wallet: str
    token_id: str
    amount: float
    name: str | None = None
    total_pnl: float | None = None

    @property
    def row(self) -> Row:
        return Row(
            wallet=self.proxy_wallet,
            rank=1,  # they are ranked when all lists are known
            name=self.name or "",
            pnl=self.total_pnl,
            shares=self.amount,
            group=self.token_id,
        )


class _Holders(msgspec.Struct):
    holders: list[_Holder]


class _Leaderboard(msgspec.Struct):
    data: list[_Trader]
    pagination: _Pagination


class _Winners(msgspec.Struct):
    data: list[_Win]
    pagination: _Pagination


class _HoldersPage(msgspec.Struct):
    data: list[_Holders]
    pagination: _Pagination


class _Market(msgspec.Struct):
    condition: str = msgspec.field(name="conditionId")


class Boards:
    """The boards, page by page. `markets` looks up a market's slug."""

    def __init__(self, http: Http, markets: Http) -> None:
        self._http = http
        self._markets = markets

    async def clock(self) -> float:
        """The source's clock, epoch seconds; one request. Raises SourceError."""
        return await self._http.read("/v2/status", {}, "the source's clock", _clock)

    async def walk(self, asked: Asked) -> AsyncIterator[Board]:
        """Yields, after each page, what was found so far; the last is the whole answer.

        Raises SourceError: a page that failed is never an empty one. Raises ConfigurationError if
        there is no such market.
        """
        condition = await self._condition(asked.market) if asked.kind == "holders" else ""
        walk = Walk(asked)
        while not walk.done:
            walk.add(await self._page(asked, condition, walk.cursor))
            yield walk.board()

    async def _page(self, asked: Asked, condition: str, cursor: str | None) -> BoardPage:
        # A cursor is bound to its board. Restating the board is allowed, and a wrong cursor is then
        # refused.
        params: dict[str, str | int] = {"cursor": cursor} if cursor else {}
        if asked.kind == "holders":
            limit = min(asked.top, HOLDERS_LIMIT)
            params |= {"condition": condition, "include_pnl": "true", "limit": limit}
            return await self._read("/v2/holders", params, asked, _holders)
        params |= {
            "time_period": asked.window,
            "category": asked.category,
            # A wallet may have several wins, so as many rows as can be had are asked for.
            "limit": LIMIT if asked.kind == "winners" else min(asked.top, LIMIT),
        }
        if asked.kind == "winners":
            return await self._read("/v2/biggest-winners", params, asked, _winners)
        params["sort_by"] = asked.by.upper()
        return await self._read("/v2/leaderboard", params, asked, _leaderboard)

    async def _read(
        self,
        path: str,
        params: dict[str, str | int],
        asked: Asked,
        read: Callable[[Answer], BoardPage],
    ) -> BoardPage:
        return await self._http.read(path, params, asked.title, read)

    async def _condition(self, market: str) -> str:
        """The condition id of a market; one request unless it is one already."""
        if is_condition(market):
            return market.lower()
        found = await self._markets.read(
            f"/markets/slug/{market}",
            {},
            f"the market {quoted(market)}",
            lambda answer: decode_page(answer.json, _Market).condition,
        )
        if not is_condition(found):
            raise ContractBroken(f"the market {quoted(market)} has the condition {quoted(found)}")
        return found


@asynccontextmanager
async def open_boards(url: str, markets_url: str, how: Sending) -> AsyncIterator[Boards]:
    """The boards of the Data API at `url`, with the market service at `markets_url`."""
    async with two_hosts(url, markets_url, how) as (data, markets):
        yield Boards(data, markets)


def has_boards(kind: str) -> bool:
    """Whether the source `kind` has boards."""
    return kind == Polymarket.name


def check_has_boards(kind: str, what: str = "leaderboard") -> None:
    """Raises ConfigurationError if the source `kind` has trades alone, and not `what`."""
    if not has_boards(kind):
        raise ConfigurationError(
            f"POLYCOPY_SOURCE={kind!r} has no {what}; the source that has one: {Polymarket.name}"
        )


def _clock(answer: Answer) -> float:
    if answer.date is None:
        raise ContractBroken("an answer without `Date`: the day is that of the source's clock")
    return answer.date + answer.age


def _leaderboard(answer: Answer) -> BoardPage:
    body = decode_page(answer.json, _Leaderboard)
    return _page([trader.row for trader in body.data], body.pagination, answer)


def _winners(answer: Answer) -> BoardPage:
    body = decode_page(answer.json, _Winners)
    return _page([win.row for win in body.data], body.pagination, answer)


def _holders(answer: Answer) -> BoardPage:
    body = decode_page(answer.json, _HoldersPage)
    rows = chain.from_iterable(group.holders for group in body.data)
    return _page([holder.row for holder in rows], body.pagination, answer)


def _page(rows: Sequence[Row], pagination: _Pagination, answer: Answer) -> BoardPage:
    """One page; raises ContractBroken if it does not say how to go on, or whether to."""
    if pagination.has_more != (pagination.next_cursor is not None):
        raise ContractBroken(
            "a board that promises more pages without a cursor to them, or a cursor to none"
        )
    return BoardPage(
        rows=rows,
        cursor=pagination.next_cursor,
        requests=answer.requests,
        date=answer.date,
    )
