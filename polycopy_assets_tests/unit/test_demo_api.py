"""The sample API refuses what the real ones refuse, and serves every trade once."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import polymarket
import pytest
from polymarket.environments import PRODUCTION, _create_environment

from polycopy_assets.demo.faults import RANDOM_FAULTS, Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served, serve
from polycopy_assets.demo.state import State
from polycopy_assets.demo.world import v2_row

KEY = {"Authorization": "Bearer demo-key"}


@pytest.fixture(scope="module")
def api() -> Iterator[Served]:
    with serve(State(generate(7, 3, whales=1, whale_trades=2500), Faults(hang_seconds=1))) as api:
        yield api


@pytest.fixture(autouse=True)
def healthy(api: Served) -> None:
    api.state.faults.set({})
    api.state.faults.set_wallets({})


def whale(api: Served) -> str:
    return api.state.world.wallets()[0]


def get(api: Served, path: str, headers: dict[str, str] | None = None, **params: Any) -> Any:
    return httpx.get(api.url + path, params=params, headers=headers)


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"limit": 1001}, "limit"),
        ({"offset": 0}, "offset"),
        ({"user": "0x12"}, "user"),
        ({"user": "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e"}, "user"),
        ({"cursor": "made-up"}, "cursor"),
        ({"start": "yesterday"}, "start"),
        ({"side": "HOLD"}, "side"),
        ({"taker_only": "no"}, "taker_only"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_v2_refuses_what_it_does_not_know_and_names_it(
    api: Served, params: dict[str, Any], parameter: str
):
    answer = get(api, "/v2/trades", **{"user": whale(api), **params})
    assert answer.status_code == 400
    body = answer.json()
    assert (body["code"], body["parameter"]) == ("invalid_request", parameter)
    assert answer.headers["x-trace-id"] == body["trace_id"]


@pytest.mark.parametrize(
    ("params", "headers", "status", "error"),
    [
        ({}, {}, 401, "Unauthorized"),
        ({"offset": 10_001}, KEY, 401, "Offset deprecated"),
        ({"limit": 0}, KEY, 400, "limit"),
        ({"start_time": 5, "end_time": 5}, KEY, 400, "time range"),
        ({"pagination_key": "made-up"}, KEY, 400, "pagination key"),
        ({"user": ""}, KEY, 400, "filter"),
    ],
)
def test_dome_refuses_in_its_own_words(
    api: Served, params: dict[str, Any], headers: dict[str, str], status: int, error: str
):
    answer = get(api, "/polymarket/orders", headers, **{"user": whale(api), **params})
    assert answer.status_code == status
    assert error in answer.json()["error"]


def test_a_careless_client_misses_old_trades_and_the_makers_fills(api: Served):
    full = {"user": whale(api), "limit": 1000, "start": 1, "taker_only": "false"}
    assert _walk(api, full) == _truth(api)
    recent = _walk(api, {k: v for k, v in full.items() if k != "start"})
    takers = _walk(api, {k: v for k, v in full.items() if k != "taker_only"})
    assert 0 < recent.total() < _truth(api).total()
    assert 0 < takers.total() < _truth(api).total()


def test_changed_filters_start_the_walk_anew_without_a_word(api: Served):
    params = {"user": whale(api), "limit": 10, "start": 1, "taker_only": "false"}
    first = get(api, "/v2/trades", **params).json()
    cursor = first["pagination"]["next_cursor"]
    same = get(api, "/v2/trades", **params, cursor=cursor).json()
    changed = get(api, "/v2/trades", **{**params, "start": 2}, cursor=cursor).json()
    assert same["data"] != first["data"]
    assert changed["data"] == first["data"]


def test_bounds_that_are_left_out_do_not_move_while_a_walk_goes_on(
    api: Served, monkeypatch: pytest.MonkeyPatch
):
    params = {"user": whale(api), "limit": 1000, "taker_only": "false", "start": 1}
    clock = itertools.count(int(time.time()))
    monkeypatch.setattr("polycopy_assets.demo.feed.time.time", lambda: next(clock))
    assert _walk(api, params) == _truth(api)


def test_a_wallet_with_an_extra_field_is_still_walked_to_the_end(api: Served):
    api.state.faults.set_wallets({whale(api): "extra_field"})
    walked = _walk(api, {"user": whale(api), "limit": 1000, "start": 1, "taker_only": "false"})
    assert walked.total() == _truth(api).total()


def test_errors_have_the_shape_of_their_contract(api: Served):
    api.state.faults.set_wallets({whale(api): "500"})
    v2 = get(api, "/v2/trades", user=whale(api))
    dome = get(api, "/polymarket/orders", KEY, user=whale(api))
    assert (v2.status_code, v2.json()["code"]) == (500, "internal")
    assert (dome.status_code, set(dome.json())) == (500, {"error", "message"})
    nowhere = get(api, "/v1/trades")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    assert nowhere.headers["x-trace-id"]


def test_dome_pages_bring_every_trade_once(api: Served):
    params: dict[str, Any] = {"user": whale(api), "limit": 1000}
    hashes: list[tuple[str, int]] = []
    while True:
        body = get(api, "/polymarket/orders", KEY, **params).json()
        hashes += [(row["tx_hash"], row["log_index"]) for row in body["orders"]]
        if not body["pagination"]["has_more"]:
            break
        params["pagination_key"] = body["pagination"]["pagination_key"]
    assert Counter(hashes) == Counter(
        (t.tx_hash, t.log_index) for t in api.state.world.truth(whale(api))
    )


def _walk(api: Served, params: dict[str, Any]) -> Counter[bytes]:
    rows: Counter[bytes] = Counter()
    cursor: dict[str, str] = {}
    while True:
        body = get(api, "/v2/trades", **{**params, **cursor}).json()
        rows.update(msgspec.json.encode(row) for row in body["data"])
        if not body["pagination"]["has_more"]:
            return rows
        cursor = {"cursor": body["pagination"]["next_cursor"]}


def _truth(api: Served) -> Counter[bytes]:
    return Counter(msgspec.json.encode(v2_row(t)) for t in api.state.world.truth(whale(api)))


def test_polymarkets_own_client_walks_a_wallet_completely(api: Served):
    # The client takes no other base URL in public; its settings are the same but for that.
    environment = _create_environment(
        name="sample", config=replace(PRODUCTION._config, data_url=api.url)
    )
    with polymarket.PublicClient(environment=environment) as client:
        pages = client.list_trades(
            user=whale(api), taker_only=False, full_history=True, page_size=1000
        )
        walked = [trade for page in pages for trade in page.items]
    truth = api.state.world.truth(whale(api))
    assert [(t.transaction_hash, float(t.size), float(t.price)) for t in walked] == [
        (t.tx_hash, t.size, t.price) for t in truth
    ]


def test_status_tells_the_lag_and_the_feed_keeps_to_it(api: Served):
    wallet = whale(api)
    newest = api.state.world.truth(wallet)[0].timestamp
    before = api.state.lag_seconds
    api.state.lag_seconds = int(time.time()) - newest + 60
    try:
        status = get(api, "/v2/status").json()
        assert status["data"]["serving"]["lag_seconds"] == api.state.lag_seconds
        params = {"user": wallet, "start": 1, "taker_only": "false"}
        rows = get(api, "/v2/trades", **params).json()["data"]
        assert rows[0]["timestamp"] < newest
    finally:
        api.state.lag_seconds = before


def test_user_volume_counts_a_wallets_fills(api: Served):
    answer = get(api, "/v2/user-volume", user=whale(api), start=1).json()["data"]
    assert answer["trade_count"] == _truth(api).total()


@pytest.mark.parametrize("fault", RANDOM_FAULTS)
def test_a_fault_that_is_asked_for_is_seen_and_counted(api: Served, fault: str):
    api.state.faults.set({fault: 1.0})
    before = api.state.faults.counts[fault]
    params = {"user": whale(api), "start": 1}
    try:
        answer = httpx.get(f"{api.url}/v2/trades", params=params, timeout=0.5)
    except httpx.TransportError as error:
        seen = "hang" if isinstance(error, httpx.ReadTimeout) else "reset"
    else:
        html = "html" in answer.headers.get("content-type", "")
        seen = {
            429: "rate_limited_html" if html else "rate_limited",
            500: "server_error",
            503: "unavailable",
            200: "truncated",
        }[answer.status_code]
        if seen == "truncated":
            with pytest.raises(msgspec.DecodeError):
                msgspec.json.decode(answer.content)
    assert seen == fault
    assert api.state.faults.counts[fault] == before + 1


def test_what_can_be_steered_is_steered_over_http_and_nonsense_is_refused(api: Served):
    steer = f"{api.url}/demo/steer"
    assert httpx.post(steer, json={"faults": {"reset": 0.5}}).status_code == 200
    assert api.state.faults.rates == {"reset": 0.5}
    refused = httpx.post(steer, json={"faults": {"earthquake": 1}})
    assert refused.status_code == 400
    assert "earthquake" in refused.json()["error"]


def test_generated_wallets_are_the_same_for_a_seed_and_as_awkward_as_real_ones():
    one, two = (generate(9, 60, whales=1, whale_trades=9000) for _ in range(2))
    assert [one.truth(w) for w in one.wallets()] == [two.truth(w) for w in two.wallets()]
    trades = one.truth(one.wallets()[0])
    by_second = Counter(t.timestamp for t in trades)
    fills = Counter(t.tx_hash for t in trades)
    alike = Counter(msgspec.json.encode(v2_row(t)) for t in trades)
    assert max(by_second.values()) >= 48
    assert max(fills.values()) >= 10
    assert max(alike.values()) >= 2
    assert len({(t.tx_hash, t.timestamp) for t in trades}) == len(fills)
    assert any(not one.truth(w) for w in one.wallets())
    assert any(w != w.lower() for w in one.wallets())
    assert len(trades) > 8900
