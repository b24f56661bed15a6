"""Answers about conditions as a source may give them: what cannot be right is refused by name."""

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

import msgspec
import pytest

from polycopy_assets.dimensions.facts import Facts, Said, Token
from polycopy_assets.dimensions.tables import table
from polycopy_assets.errors import ContractBroken, SourceError, TransientError
from polycopy_assets.sources.dimensions import MARKETS, RESOLUTIONS, TOKENS, Dimensions
from polycopy_assets.sources.http import Answer, Http

ONE, OTHER = f"0x{0xA:064x}", f"0x{0xB:064x}"
ASKED = [ONE, OTHER]


class Host:
    """Gives the bodies in turn, the last one for ever, with the `date` of its clock."""

    def __init__(self, *bodies: bytes, date: float | None = 0.0) -> None:
        self._bodies = list(bodies)
        self._date = date
        self.at_once = 1

    async def read(
        self, path: str, params: object, what: str, read: Callable[[Answer], Any]
    ) -> Any:
        del params, what
        assert path in {TOKENS, RESOLUTIONS, MARKETS}
        body = self._bodies.pop(0) if len(self._bodies) > 1 else self._bodies[0]
        date = None if self._date is None else time.time() + self._date
        return read(Answer(body, 1, "", date))


def said(path: str, *bodies: bytes, date: float | None = 0.0) -> Said:
    host = cast("Http", Host(*bodies, date=date))
    source = Dimensions(host, host)
    ways = {TOKENS: source.tokens, RESOLUTIONS: source.resolutions, MARKETS: source.markets}
    # Of two markets one would be missing, and looked for among those that are closed.
    return asyncio.run(ways[path](ASKED if path != MARKETS else [ONE]))


def token(text: str = "", **fields: object) -> bytes:
    row = {"token_id": "12", "condition_id": ONE, "outcome_index": 0, "resolved": True, **fields}
    return b'{"data":[%s]}' % (msgspec.json.encode(row)[:-1] + text.encode() + b"}")


def resolution(text: str = "", **fields: object) -> bytes:
    row = {"condition_id": ONE, "status": "resolved", **fields}
    return b'{"data":[%s]}' % (msgspec.json.encode(row)[:-1] + text.encode() + b"}")


def market(**fields: object) -> bytes:
    return msgspec.json.encode({"markets": [{"conditionId": ONE, **fields}]})


@pytest.mark.parametrize(
    ("served", "held"),
    [
        ("0.5", "0.5"),
        ("1", "1"),
        ("1e-60", "0"),
        ("-1e-60", "0"),
        ("0e-400", "0"),
        ("0e999", "0"),
        ('"0.3333333333333333333333333333333333"', "0.333333333"),
        ("999999999999999", "999999999999999"),
    ],
)
def test_an_amount_is_what_the_tables_hold_however_it_is_written(served: str, held: str):
    tokens = said(TOKENS, token(f',"final_price":{served}')).tokens[ONE]
    assert tokens[0].final_price == Decimal(held)
    rows = table("tokens", [Facts(condition=ONE, since=1, tokens=tokens)])
    assert rows["final_price"].to_list() == [Decimal(held)]

    found = said(RESOLUTIONS, resolution(f',"payouts":[{served},0]')).resolutions[ONE]
    rows = table("markets", [Facts(condition=ONE, since=1, resolution=found)])
    assert abs(rows["payout_0"][0] * 10**6 - Decimal(held)) <= Decimal("0.001")


@pytest.mark.parametrize(
    "served", ["1e999999999", "-1e999999999", "1e15", '"NaN"', '"sNaN"', '"-Infinity"']
)
def test_an_amount_that_is_none_is_refused(served: str):
    with pytest.raises(ContractBroken, match="which is none"):
        said(TOKENS, token(f',"final_price":{served}'))
    with pytest.raises(ContractBroken, match="which is none"):
        said(RESOLUTIONS, resolution(f',"payouts":[{served},0]'))


def test_what_is_said_twice_is_refused_however_it_is_written():
    big = ONE.upper().replace("X", "x")
    twice = resolution().replace(b"]}", b',{"condition_id":"%s","status":"posed"}]}' % big.encode())
    with pytest.raises(ContractBroken, match="twice"):
        said(RESOLUTIONS, twice)
    both = market().replace(b"]}", b',{"conditionId":"%s","closed":false}]}' % big.encode())
    with pytest.raises(ContractBroken, match="twice"):
        said(MARKETS, both)
    page = market().replace(b"]}", b'],"next_cursor":"x"}')
    with pytest.raises(ContractBroken, match="twice"):
        said(MARKETS, page, market(conditionId=big))
    with pytest.raises(ContractBroken, match="twice"):
        said(TOKENS, token().replace(b"]}", b"," + token()[9:]))


@pytest.mark.parametrize("text", ["", "0x12", "-1", "1" * 79, "1\n", "\u0661"])
def test_a_token_that_is_no_number_is_refused(text: str):
    with pytest.raises(ContractBroken, match="which is none"):
        said(TOKENS, token(token_id=text))


@pytest.mark.parametrize(
    "at", [None, 0, "", "0001-01-01T00:00:00Z"], ids=["null", "0", "empty", "zero of Go"]
)
def test_no_time_is_not_a_broken_contract(at: object):
    found = said(MARKETS, market(startDate=at or "", endDate=at or "", closed=True)).markets[ONE]
    assert (found.start_date, found.end_date) == (None, None)
    assert said(RESOLUTIONS, resolution(resolved_at=at)).resolutions[ONE].resolved_at is None


def test_a_time_that_is_none_is_refused():
    for text in ("tomorrow", "-5", "2026-02-30T00:00:00Z", "0001-01-02T00:00:00Z"):
        with pytest.raises(ContractBroken, match="which is no time"):
            said(MARKETS, market(endDate=text))


@pytest.mark.parametrize("ahead", [400, 86_400, 10**9])
def test_an_answer_from_the_future_is_refused_because_it_would_hide_what_follows(ahead: float):
    for path, body in ((TOKENS, token()), (RESOLUTIONS, resolution()), (MARKETS, market())):
        with pytest.raises(TransientError, match="behind the source's"):
            said(path, body, date=ahead)


def test_an_answer_from_a_cache_counts_from_when_it_was_true():
    for late in (0, -250, -86_400):
        assert abs(said(TOKENS, token(), date=late).at - time.time() - late) < 60


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        (TOKENS, b'{"data":[null]}', "documented shape"),
        (TOKENS, b'{"data":null}', "documented shape"),
        (TOKENS, b"[]", "documented shape"),
        (TOKENS, token(condition_id=f"0x{0xC:064x}"), "not asked for"),
        (TOKENS, token(outcome_index=10**30), "documented shape"),
        (RESOLUTIONS, resolution(condition_id=None), "not asked for"),
        (RESOLUTIONS, resolution(payouts=[None]), "documented shape"),
        (MARKETS, market(events=[None]), "documented shape"),
        (MARKETS, market(conditionId=""), "not asked for"),
        (MARKETS, b'{"markets":[],"next_cursor":"x"}', "more than 10 pages"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_refused(path: str, body: bytes, why: str):
    with pytest.raises(ContractBroken, match=why):
        said(path, body)
    with pytest.raises(SourceError, match="Date"):
        said(path, b'{"data":[],"markets":[]}', date=None)


def test_what_an_answer_lacks_is_not_made_up():
    assert said(TOKENS, b'{"data":[]}').tokens == {}
    assert said(TOKENS, token()).tokens == {
        ONE: (Token(token_id="12", outcome_index=0, resolved=True),)
    }
    assert said(MARKETS, market(tags=None, events=[], feeSchedule=None)).markets[ONE].tags == ()
