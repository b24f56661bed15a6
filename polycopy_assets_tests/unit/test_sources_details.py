"""The sources over real HTTP: the key's header, the lag, and fields the contract names."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from polycopy_assets.errors import ContractBroken, SourceError
from polycopy_assets.sources import dome, polymarket
from polycopy_assets.sources.budget import Window
from polycopy_assets.trades.interval import Interval
from polycopy_assets_tests.of_trades import Dome, open_source
from polycopy_assets_tests.unit.test_http import Reply, answering
from polycopy_assets_tests.unit.test_sources import TRADES, WALLET, Canned, ask, dome_row

KEY = "sk-not-to-be-seen"


def over_http(kind: str, reply: Reply, use: Callable[[Any], Awaitable[Any]]) -> tuple[Any, Any]:
    headers: list[Any] = []
    with answering(reply, heard=headers) as (url, _):

        async def run() -> Any:
            async with open_source(
                kind, url, windows=[Window(99, 1)], concurrency=1, timeout=2, api_key=KEY
            ) as source:
                return await use(source)

        return asyncio.run(run()), headers


def test_domes_key_goes_as_a_bearer_and_polymarket_gets_none():
    body = b'{"orders": [], "pagination": {"has_more": false}}'
    found, heard = over_http("dome", (200, {}, body), lambda source: source.horizon())
    assert found.until == found.at - dome.MARGIN
    assert heard[0]["Authorization"] == f"Bearer {KEY}"
    status = (
        b'{"data": {"age_seconds": 7, "serving": {"lag_seconds": 42},'
        b' "ingestion": {"most_lagged": {"behind_max": 0}}}}'
    )
    found, heard = over_http("polymarket", (200, {}, status), lambda source: source.horizon())
    assert found.until == found.at - 42 - 7 - polymarket.MARGIN
    assert heard[0]["Authorization"] is None


def test_dome_is_never_asked_from_zero_on():
    http = Canned({"orders": [], "pagination": {"has_more": False}})
    ask(Dome(http), Interval(0, 500))  # type: ignore[arg-type]
    assert http.asked[0][1]["start_time"] == 1


@pytest.mark.parametrize("field", ["user", "shares_normalized", "tx_hash", "timestamp"])
def test_a_field_that_dome_leaves_out_is_named(field: str):
    order = dome_row(TRADES[0])
    del order[field]
    http = Canned({"orders": [order], "pagination": {"has_more": False}})
    with pytest.raises(ContractBroken, match=field):
        ask(Dome(http), Interval(0, 9))  # type: ignore[arg-type]


def test_no_field_of_domes_contract_is_called_unknown():
    order = dome_row(TRADES[0]) | {"shares": 1, "block_number": 2, "log_index": 3, "surprise": 4}
    http = Canned({"orders": [order], "pagination": {"has_more": False}})
    assert set(ask(Dome(http), Interval(0, 9)).unknown_fields) == {"surprise"}  # type: ignore[arg-type]


def test_a_key_that_is_refused_is_not_repeated_in_the_error():
    body = msgspec.json.encode({"error": "Unauthorized", "message": f"key {KEY} unknown"})

    async def page(source: Any) -> Any:
        return await source.page(WALLET, Interval(0, 9), None)

    with pytest.raises(SourceError) as error:
        over_http("dome", (401, {}, body), page)
    assert KEY not in str(error.value)
