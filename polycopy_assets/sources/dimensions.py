"""What the source says of conditions: `/v2/tokens`, `/v2/resolutions`, and the markets of Gamma.

Contracts: https://docs.polymarket.com/api-reference. No key, no account. Gamma, the market service,
is another host with budgets of its own. It leaves out closed markets unless it is asked for them
alone, so each market is looked for both ways.
"""

import re
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TypeVar

import msgspec

from polycopy_assets.dimensions.facts import Market, Resolution, Said, Token, parse_condition
from polycopy_assets.errors import ContractBroken
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.hosts import Sending, two_hosts
from polycopy_assets.sources.http import Answer, Http, Params
from polycopy_assets.sources.moment import moment
from polycopy_assets.sources.rows import decode_page
from polycopy_assets.text import quoted
from polycopy_assets.trades.horizon import check_clocks
from polycopy_assets.trades.shapes import Int64

TOKENS, RESOLUTIONS, MARKETS = "/v2/tokens", "/v2/resolutions", "/markets/keyset"
MOST_TOKENS = 10
"""Conditions in a request for tokens; more is refused."""

MOST = 20
"""Conditions in a request for resolutions; more is refused. As many are asked of the market
service, whose answer is then one page."""

MARKETS_WINDOWS = (Window(4_000, 10.0),)
"""What the market service allows on all its routes together."""

_LIMIT = 100
_MOST_PAGES = 10
_MICRO = Decimal(1_000_000)
_MOST_AMOUNT = Decimal(10) ** 15
_GRAIN = Decimal("1e-9")
"""The smallest part of a dollar that the tables hold."""

_TOKEN = re.compile("[0-9]{1,78}")
_NO_TIMES = frozenset({None, 0, "", "0001-01-01T00:00:00Z"})
"""What stands where there is no time; the last is what Go writes for a time that was never set."""

T = TypeVar("T")


class _Token(msgspec.Struct, rename={"structural": "structural_condition_id"}):
    token_id: str
    condition_id: str
    outcome_index: Int64
    resolved: bool
    outcome: str | None = None
    clob_index: Int64 | None = None
    opposite_token_id: str | None = None
    module: str | None = None
    structural: str | None = None
    neg_risk: bool | None = None
    neg_risk_market_id: str | None = None
    question_index: Int64 | None = None
    title: str | None = None
    market_slug: str | None = None
    event_id: int | str | None = None
    event_slug: str | None = None
    final_price: Decimal | None = None


class _Resolution(msgspec.Struct):
    condition_id: str | None
    status: str
    payouts: tuple[Decimal, ...] | None = None
    resolved_at: float | str | None = None
    resolved_block: Int64 | None = None
    was_disputed: bool | None = None
    was_arbitrated: bool | None = None
    reporter: str | None = None
    resolution_source: str | None = None


class _Fees(msgspec.Struct, rename="camel"):
    exponent: Decimal | None = None
    rate: Decimal | None = None
    taker_only: bool | None = None
    rebate_rate: Decimal | None = None


class _Event(msgspec.Struct):
    id: int | str | None = None
    slug: str | None = None


class _Tag(msgspec.Struct):
    label: str | None = None
    slug: str | None = None


class _Market(msgspec.Struct, rename="camel"):
    condition_id: str
    question_id: str | None = msgspec.field(default=None, name="questionID")
    slug: str | None = None
    question: str | None = None
    category: str | None = None
    tags: list[_Tag] | None = None
    events: list[_Event] | None = None
    neg_risk: bool | None = None
    start_date: str | None = None
    end_date: str | None = None
    closed: bool | None = None
    closed_time: str | None = None
    fees_enabled: bool | None = None
    fee_schedule: _Fees | None = None


class _Tokens(msgspec.Struct):
    data: list[_Token]


class _Resolutions(msgspec.Struct):
    data: list[_Resolution]


class _Markets(msgspec.Struct):
    markets: list[_Market]
    next_cursor: str | None = None


class Dimensions:
    """The three routes. `markets` is the market service. Every method raises SourceError.

    An answer about a condition that was not asked for, or one thing said twice, is ContractBroken.
    """

    def __init__(self, http: Http, markets: Http) -> None:
        self._http = http
        self._markets = markets

    @property
    def at_once(self) -> int:
        """How many requests at the same time are of use now."""
        return self._http.at_once

    async def tokens(self, conditions: Sequence[str]) -> Said:
        """The tokens of at most 10 conditions; one request."""

        def read(answer: Answer) -> Said:
            rows = [(row.condition_id, row) for row in decode_page(answer.json, _Tokens).data]
            found: dict[str, list[Token]] = {}
            for condition, row in _asked(rows, conditions):
                found.setdefault(condition, []).append(_token(row))
            tokens = {condition: tuple(each) for condition, each in found.items()}
            _refuse_twice(token.token_id for each in tokens.values() for token in each)
            return Said(tokens=tokens, at=_at(answer), requests=answer.requests)

        params = {"condition": ",".join(conditions)}
        return await self._http.read(TOKENS, params, _what("tokens", conditions), read)

    async def resolutions(self, conditions: Sequence[str]) -> Said:
        """The resolutions of at most 20 conditions; one request."""

        def read(answer: Answer) -> Said:
            body = decode_page(answer.json, _Resolutions)
            rows = _asked(((row.condition_id or "", row) for row in body.data), conditions)
            _refuse_twice(condition for condition, _ in rows)
            found = {condition: _resolution(row) for condition, row in rows}
            return Said(resolutions=found, at=_at(answer), requests=answer.requests)

        params = {"condition": ",".join(conditions)}
        return await self._http.read(RESOLUTIONS, params, _what("resolutions", conditions), read)

    async def markets(self, conditions: Sequence[str]) -> Said:
        """The markets of at most 20 conditions; two requests, one if all of them are open."""
        found = await self._listed(conditions, closed=False)
        missing = [each for each in conditions if each not in found.markets]
        if not missing:
            return found
        closed = await self._listed(missing, closed=True)
        return Said(
            markets={**found.markets, **closed.markets},
            at=closed.at,
            requests=found.requests + closed.requests,
        )

    async def _listed(self, conditions: Sequence[str], *, closed: bool) -> Said:
        params: dict[str, str | int | Sequence[str]] = {
            "condition_ids": list(conditions),
            "closed": "true" if closed else "false",
            "include_tag": "true",
            "limit": _LIMIT,
        }
        found: dict[str, Market] = {}
        requests = 0
        for _ in range(_MOST_PAGES):
            page, cursor = await self._page(params, conditions)
            _refuse_twice([*found, *page.markets])
            found |= page.markets
            requests += page.requests
            if not cursor:
                return Said(markets=found, at=page.at, requests=requests)
            params["after_cursor"] = cursor
        raise ContractBroken(f"{_what('markets', conditions)}: more than {_MOST_PAGES} pages")

    async def _page(self, params: Params, conditions: Sequence[str]) -> tuple[Said, str | None]:
        def read(answer: Answer) -> tuple[Said, str | None]:
            body = decode_page(answer.json, _Markets)
            rows = _asked(((row.condition_id, row) for row in body.markets), conditions)
            _refuse_twice(condition for condition, _ in rows)
            found = {condition: _market(row) for condition, row in rows}
            said = Said(markets=found, at=_at(answer), requests=answer.requests)
            return said, body.next_cursor

        return await self._markets.read(MARKETS, params, _what("markets", conditions), read)


@asynccontextmanager
async def open_dimensions(url: str, markets_url: str, how: Sending) -> AsyncIterator[Dimensions]:
    """The dimensions of the Data API at `url`, with the market service at `markets_url`."""
    async with two_hosts(url, markets_url, how, MARKETS_WINDOWS) as (data, markets):
        yield Dimensions(data, markets)


def _what(what: str, conditions: Sequence[str]) -> str:
    more = f" and {len(conditions) - 1} more" if len(conditions) > 1 else ""
    return f"the {what} of {conditions[0]}{more}"


def _at(answer: Answer) -> int:
    """When the answer was true; raises TransientError if that is still to come.

    A version that begins next year would hide all that the source says until then.
    """
    if answer.date is None:
        raise ContractBroken("the answer has no `Date`, so it is unknown when it was true")
    check_clocks(min(time.time() - answer.date, 0.0))
    return int(answer.date)


def _asked(rows: Iterable[tuple[str, T]], conditions: Sequence[str]) -> list[tuple[str, T]]:
    """The rows by their condition in lower case; raises ContractBroken for one not asked for."""
    found = [(parse_condition(condition), condition, row) for condition, row in rows]
    for parsed, given, _ in found:
        if parsed not in conditions:
            raise ContractBroken(f"an answer about {quoted(given)}, which was not asked for")
    return [(parsed or "", row) for parsed, _, row in found]


def _refuse_twice(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ContractBroken(f"{quoted(name)} is in the answer twice")
        seen.add(name)


def _token(row: _Token) -> Token:
    if not _TOKEN.fullmatch(row.token_id):
        raise ContractBroken(f"the token {quoted(row.token_id)}, which is none")
    return Token(
        token_id=row.token_id,
        outcome_index=row.outcome_index,
        outcome=row.outcome,
        clob_index=row.clob_index,
        opposite_token_id=row.opposite_token_id,
        module=row.module,
        structural_condition_id=row.structural,
        neg_risk=row.neg_risk,
        neg_risk_market_id=row.neg_risk_market_id,
        question_index=row.question_index,
        title=row.title,
        market_slug=row.market_slug,
        event_id=_text(row.event_id),
        event_slug=row.event_slug,
        resolved=row.resolved,
        final_price=_amount(row.final_price),
    )


def _resolution(row: _Resolution) -> Resolution:
    return Resolution(
        status=row.status,
        payouts=tuple((_amount(each) or 0) / _MICRO for each in row.payouts or ()),
        resolved_at=_seconds(row.resolved_at, "a condition that resolved at"),
        resolved_block=row.resolved_block,
        was_disputed=row.was_disputed,
        was_arbitrated=row.was_arbitrated,
        reporter=row.reporter,
        resolution_source=row.resolution_source,
    )


def _market(row: _Market) -> Market:
    fees = row.fee_schedule or _Fees()
    event = (row.events or [_Event()])[0]
    return Market(
        question_id=row.question_id or None,
        market_slug=row.slug,
        question=row.question,
        category=row.category,
        tags=tuple(sorted(tag.label or tag.slug or "" for tag in row.tags or ())),
        event_id=_text(event.id),
        event_slug=event.slug,
        neg_risk=row.neg_risk,
        start_date=_seconds(row.start_date, "a market that opened at"),
        end_date=_seconds(row.end_date, "a market that ends at"),
        closed=row.closed,
        closed_time=_seconds(row.closed_time, "a market that closed at"),
        fees_enabled=row.fees_enabled,
        fee_rate=_amount(fees.rate),
        fee_exponent=_amount(fees.exponent),
        fee_taker_only=fees.taker_only,
        fee_rebate_rate=_amount(fees.rebate_rate),
    )


def _amount(value: Decimal | None) -> Decimal | None:
    """A decimal as the tables hold it; raises ContractBroken if they cannot."""
    if value is None:
        return None
    # Not by `abs`, which rounds, and fails for what is far too large.
    if not value.is_finite() or not -_MOST_AMOUNT < value < _MOST_AMOUNT:
        raise ContractBroken(f"the amount {quoted(value)}, which is none")
    return value.quantize(_GRAIN)


def _text(value: int | str | None) -> str | None:
    return None if value is None else str(value)


def _seconds(value: float | str | None, what: str) -> int | None:
    return None if value is None or value in _NO_TIMES else int(moment(value, what))
