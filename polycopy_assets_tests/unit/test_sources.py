"""What the two sources ask, and what they make of the answers."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import dome_row, v2_row
from polycopy_assets.errors import ContractBroken
from polycopy_assets.sources.http import Answer
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Page
from polycopy_assets_tests.of_trades import Dome, Polymarket

WORLD = generate(3, 1, whales=1, whale_trades=5)
WALLET = WORLD.wallets()[0].lower()
TRADES = WORLD.truth(WALLET)
T = TypeVar("T")


class Canned:
    """Stands where Http stands; keeps what was asked."""

    def __init__(self, body: Any) -> None:
        self.body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def read(
        self,
        path: str,
        params: dict[str, Any],
        what: str,
        read: Callable[[Answer], T],
        *,
        new: bool = False,
    ) -> T:
        del what, new
        self.asked.append((path, dict(params)))
        return read(Answer(self.body, 1, "t"))


def polymarket(rows: list[dict[str, Any]], **pagination: Any) -> Canned:
    return Canned(
        {"data": rows, "pagination": {"has_more": False, "next_cursor": None, **pagination}}
    )


def ask(source: Any, span: Interval, cursor: str | None = None) -> Page:
    return asyncio.run(source.page(WALLET, span, cursor))


def test_polymarket_is_asked_for_maker_fills_too_in_full_history_with_the_same_filters():
    http = polymarket([])
    source = Polymarket(http)  # type: ignore[arg-type]
    ask(source, Interval(0, 500))
    ask(source, Interval(0, 500), "c1")
    filters = {"user": WALLET, "limit": 1000, "taker_only": "false", "start": 1, "end": 499}
    assert http.asked == [("/v2/trades", filters), ("/v2/trades", {**filters, "cursor": "c1"})]


def test_dome_is_asked_with_inclusive_bounds_and_a_single_second_with_the_next_one():
    rows = [dome_row(t) | {"timestamp": s} for t, s in zip(TRADES, (8, 7), strict=False)]
    http = Canned({"orders": rows, "pagination": {"has_more": False}})
    source = Dome(http)  # type: ignore[arg-type]
    ask(source, Interval(5, 500), "k")
    page = ask(source, Interval(7, 8))
    expected = {"user": WALLET, "limit": 1000, "start_time": 5, "end_time": 499}
    assert http.asked[0] == ("/polymarket/orders", {**expected, "pagination_key": "k"})
    assert http.asked[1][1] == {**expected, "start_time": 7, "end_time": 8}
    assert [row.timestamp for row in page.rows] == [7]


@pytest.mark.parametrize("field", ["price", "timestamp", "transaction_hash", "side", "size"])
def test_a_missing_field_breaks_the_contract_and_is_named(field: str):
    row = v2_row(TRADES[0])
    del row[field]
    with pytest.raises(ContractBroken, match=field):
        ask(Polymarket(polymarket([v2_row(TRADES[1]), row])), Interval(0, 9))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"), [("price", "0.5"), ("size", None), ("side", "HOLD"), ("timestamp", 1.5)]
)
def test_a_field_of_another_type_breaks_the_contract_and_is_named(field: str, value: Any):
    row = v2_row(TRADES[0]) | {field: value}
    with pytest.raises(ContractBroken, match=field):
        ask(Polymarket(polymarket([row])), Interval(0, 9))  # type: ignore[arg-type]


def test_a_body_of_another_shape_breaks_the_contract():
    with pytest.raises(ContractBroken, match="pagination"):
        ask(Polymarket(Canned({"data": []})), Interval(0, 9))  # type: ignore[arg-type]


def test_rows_are_kept_as_served_and_unknown_fields_are_named():
    row = v2_row(TRADES[0]) | {"is_combo": True, "proxy_wallet": WALLET.upper()}
    body = msgspec.json.encode(row)
    spread = b'{"data":[' + msgspec.json.format(body, indent=2) + b"],"
    page = ask(
        Polymarket(Canned(spread + b'"pagination":{"has_more":false}}')),  # type: ignore[arg-type]
        Interval(0, 9),
    )
    assert page.unknown_fields == {"is_combo": 1}
    assert page.rows[0].wallet == WALLET
    assert b"\n" not in page.rows[0].raw
    assert msgspec.json.decode(page.rows[0].raw) == row
