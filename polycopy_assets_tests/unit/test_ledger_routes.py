"""The sample API's ledgers, positions and markets: each trap of the real routes is there."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from polycopy_assets.demo.entry import Labels, activity_row
from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.freshness import Freshness
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.limits import Limits
from polycopy_assets.demo.recorded import load_directory
from polycopy_assets.demo.server import Served, serve
from polycopy_assets.demo.state import State
from polycopy_assets.demo.world import v2_row

WORLD = generate(13, 3, whales=1, whale_trades=1500, ledgers=True)
WHALE = WORLD.wallets()[0]
MARKETS = list(WORLD.markets.values())
CLOSED = [market for market in MARKETS if market.resolved_at]
OPEN = [market for market in MARKETS if not market.resolved_at]
ALL = {"user": WHALE, "start": 1, "limit": 1000, "exclude_deposits_withdrawals": "false"}
EVERY_TYPE = ",".join({entry.type for entry in WORLD.entries(WHALE)})


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Served, httpx.Client]]:
    with serve(State(WORLD, Faults())) as api, httpx.Client(base_url=api.url, timeout=60) as client:
        yield api, client


@pytest.fixture
def api(served: tuple[Served, httpx.Client]) -> Served:
    state = served[0].state
    state.faults.set({})
    state.faults.set_wallets({})
    state.freshness, state.labels, state.limits = Freshness(), Labels(), Limits({})
    return served[0]


@pytest.fixture
def client(served: tuple[Served, httpx.Client], api: Served) -> httpx.Client:
    del api
    return served[1]


def get(client: httpx.Client, path: str, **params: Any) -> Any:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def walk(client: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        body = get(client, "/v2/activity", **params, **cursor)
        rows += body["data"]
        if not body["pagination"]["has_more"]:
            return rows
        cursor = {"cursor": body["pagination"]["next_cursor"]}


def truth() -> list[dict[str, Any]]:
    return [activity_row(entry, Labels(), LAST) for entry in WORLD.entries(WHALE)]


@pytest.mark.parametrize(
    ("path", "params", "parameter"),
    [
        ("/v2/activity", {}, "user"),
        ("/v2/activity", {"user": "0x4d97dcd97ec945f40cf65f87097ace5ea0476045"}, "user"),
        ("/v2/activity", {"user": WHALE, "limit": 1001}, "limit"),
        ("/v2/activity", {"user": WHALE, "offset": 0}, "offset"),
        ("/v2/activity", {"user": WHALE, "type": "TRADE,AIRDROP"}, "type"),
        ("/v2/activity", {"user": WHALE, "sort_by": "CASH"}, "sort_by"),
        ("/v2/activity", {"user": WHALE, "sort_direction": "UP"}, "sort_direction"),
        ("/v2/activity", {"user": WHALE, "taker_only": "false"}, "taker_only"),
        ("/v2/activity", {"user": WHALE, "condition": f"0x{1:064x}", "event_id": 1}, "event_id"),
        (
            "/v2/activity",
            {"user": WHALE, "condition": ",".join(f"0x{n:064x}" for n in range(21))},
            "condition",
        ),
        ("/v2/tokens", {}, "token_id"),
        ("/v2/tokens", {"token_id": "1", "condition": f"0x{1:064x}"}, "condition"),
        ("/v2/tokens", {"token_id": ",".join(map(str, range(51)))}, "token_id"),
        ("/v2/tokens", {"condition": ",".join(f"0x{n:064x}" for n in range(11))}, "condition"),
        ("/v2/resolutions", {}, "condition"),
        ("/v2/resolutions", {"event_id": ",".join(map(str, range(21)))}, "event_id"),
        ("/v2/positions", {"user": WHALE, "status": "LOST"}, "status"),
        (
            "/v2/positions",
            {"user": WHALE, "status": "CLOSED", "include_archived": "true"},
            "include_archived",
        ),
    ],
)
def test_what_the_routes_do_not_accept_is_refused_by_name(
    client: httpx.Client, path: str, params: dict[str, Any], parameter: str
):
    answer = client.get(path, params=params)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["parameter"] == parameter


def test_a_careless_client_misses_deposits_tips_and_old_rows(client: httpx.Client):
    every = {**ALL, "type": EVERY_TYPE}
    assert walk(client, **every) == truth()[::-1]
    kinds = Counter(row["type"] for row in truth())
    assert {"DEPOSIT", "WITHDRAWAL", "TIP"} <= set(kinds)

    def missed(**params: Any) -> set[str]:
        return set(kinds - Counter(row["type"] for row in walk(client, **params)))

    assert missed(**ALL) == {"TIP"}
    assert missed(user=WHALE, start=1, limit=1000) == {"TIP", "DEPOSIT", "WITHDRAWAL"}
    named = {**every, "exclude_deposits_withdrawals": "true"}
    assert missed(**named) == {"DEPOSIT", "WITHDRAWAL"}, "dropped though they are named"
    recent = walk(client, **{name: value for name, value in every.items() if name != "start"})
    assert 0 < len(recent) < kinds.total()
    assert missed(**{**every, "start": 0})
    assert not get(client, "/v2/activity", user="0x" + "1" * 40)["data"]


def test_both_directions_serve_the_same_rows_and_a_cursor_is_bound_to_one(client: httpx.Client):
    every = {**ALL, "type": EVERY_TYPE, "limit": 400}
    upward = walk(client, **every, sort_direction="ASC")
    assert upward == truth()
    first = get(client, "/v2/activity", **every, sort_direction="ASC")["pagination"]
    following = {**every, "cursor": first["next_cursor"]}
    assert get(client, "/v2/activity", **following)["data"] == upward[400:800], "not sent again"
    refused = client.get("/v2/activity", params={**following, "sort_direction": "DESC"})
    assert refused.json()["parameter"] == "sort_direction"
    changed = {**following, "exclude_deposits_withdrawals": "true"}
    assert get(client, "/v2/activity", **changed)["data"][0] == upward[1], "begins from the start"
    of_trades = get(client, "/v2/trades", user=WHALE, start=1)["pagination"]["next_cursor"]
    foreign = client.get("/v2/activity", params={**every, "cursor": of_trades})
    assert foreign.json()["parameter"] == "cursor"
    middle = upward[700]["timestamp"]
    inside = walk(client, **{**every, "start": middle, "end": middle})
    assert inside == [row for row in upward if row["timestamp"] == middle][::-1]


def test_filters_by_market_event_side_and_type_and_camel_case_are_understood(client: httpx.Client):
    row = next(row for row in truth() if row["type"] == "SPLIT")
    camel = {"conditionId": row["condition_id"], "sortDirection": "ASC"}
    got = walk(client, **ALL, **camel)
    assert got == [each for each in truth() if each["condition_id"] == row["condition_id"]]
    event = WORLD.markets[row["condition_id"]].event_id
    assert row in walk(client, **ALL, event_id=event)
    sold = walk(client, **ALL, side="SELL", type="TRADE")
    assert sold == [each for each in truth()[::-1] if each["side"] == "SELL"]


def test_rows_that_are_no_trades_name_no_token_and_only_combos_are_marked(
    api: Served, client: httpx.Client
):
    for row in truth():
        named = row["type"] == "TRADE" or ("is_combo" in row and row["type"] == "REDEEM")
        assert bool(row["token_id"]) == named
        assert row.get("is_combo", True) is True
        assert (row["outcome_index"] == 999) or named
        assert len(row) == 21 + ("is_combo" in row)
    api.state.labels = Labels(redeem_tokens=True)
    assert all(row["token_id"] for row in walk(client, **ALL, type="REDEEM"))
    api.state.labels = Labels(lag=int(time.time()) - truth()[len(truth()) // 2]["timestamp"])
    late, early = walk(client, **ALL)[:2], walk(client, **ALL)[-2:]
    assert all(row["title"] == "" and row["outcome_index"] == 999 for row in late)
    assert early == truth()[:2][::-1]


def test_each_pipeline_has_its_own_lag_and_the_status_shows_it_unless_it_is_hidden(
    api: Served, client: httpx.Client
):
    newest = {row["type"]: row["timestamp"] for row in truth()}
    age = int(time.time()) - newest["REDEEM"] + 60
    api.state.freshness = Freshness(pipelines={"auto_redeem_binary_redemption": age, "rewards": 9})
    behind = walk(client, **ALL)
    assert max(row["timestamp"] for row in behind if row["type"] == "REDEEM") < newest["REDEEM"]
    assert max(row["timestamp"] for row in behind if row["type"] == "TRADE") == newest["TRADE"]
    data = get(client, "/v2/status")["data"]
    assert data["ingestion"]["most_lagged"]["source"] == "auto_redeem_binary_redemption"
    assert data["ingestion"]["most_lagged"]["behind_max"] == age // 2
    assert {"mechanism": "rewards", "age_seconds": 9, "blocks_behind": 4} in data["serving"][
        "mechanisms"
    ]
    api.state.freshness = Freshness(hidden_pipelines={"auto_redeem_binary_redemption": age})
    assert walk(client, **ALL) == behind
    assert get(client, "/v2/status")["data"]["ingestion"]["most_lagged"]["behind_max"] == 2


def test_faults_lies_and_budgets_hold_for_ledgers_too_for_one_feed_or_both(
    api: Served, client: httpx.Client
):
    one = {**ALL, "limit": 10, "end": LAST}
    api.state.faults.set_wallets({WHALE: "activity:dropped"})
    assert len(walk(client, **ALL)) < len([r for r in truth() if r["type"] != "TIP"])
    trades = {"user": WHALE, "start": 1, "taker_only": "false"}
    newest = [v2_row(trade) for trade in WORLD.truth(WHALE)[:100]]
    assert get(client, "/v2/trades", **trades)["data"] == newest
    api.state.faults.set_wallets({WHALE: "unknown_type"})
    assert get(client, "/v2/activity", **one)["data"][0]["type"] == "AIRDROP"
    api.state.faults.set_wallets({WHALE: "wrong_order"})
    times = [row["timestamp"] for row in get(client, "/v2/activity", **one)["data"]]
    assert times == sorted(times)
    for direction, step in (("ASC", 1), ("DESC", -1)):
        api.state.faults.set_wallets({WHALE: "endless_pages"})
        body = get(client, "/v2/activity", **one, sort_direction=direction)
        cursor = body["pagination"]["next_cursor"]
        after = get(client, "/v2/activity", **one, sort_direction=direction, cursor=cursor)
        assert after["data"][0]["timestamp"] - body["data"][0]["timestamp"] == step
    api.state.faults.set_wallets({WHALE: "401"})
    assert client.get("/v2/activity", params=one).status_code == 401
    api.state.faults.set_wallets({})
    api.state.faults.set({"unavailable": 1.0})
    for path in ("/v2/activity", "/v2/tokens", "/v2/resolutions", "/v2/positions"):
        assert client.get(path).status_code == 503
    assert client.get("/markets/keyset").status_code == 503
    api.state.faults.set({})
    budgets: dict[str, tuple[int, float]] = {"/v2/activity": (2, 60.0), "/markets": (1, 60.0)}
    assert client.post("/demo/steer", json={"rate_limits": budgets}).status_code == 200
    asked = [client.get("/v2/activity", params=one).status_code for _ in range(3)]
    assert asked == [200, 200, 429]
    assert client.get("/v2/trades", params=trades).status_code == 200
    assert [client.get("/markets/keyset").status_code for _ in range(2)] == [200, 429]
    assert get(client, "/demo/counts")["refused_by_budget"] == {"/v2/activity": 1, "/markets": 1}


def test_requests_of_ledgers_are_counted_apart_from_those_of_trades(
    api: Served, client: httpx.Client
):
    api.state.counts.reset()
    api.state.activity.reset()
    got = walk(client, **ALL, sort_direction="ASC")
    assert api.state.counts.trade_requests == 0
    assert api.state.activity.rows == {WHALE.lower(): len(got)}
    log = get(client, "/demo/log", feed="activity", wallet=WHALE)
    assert [entry["first_page"] for entry in log] == [True] + [False] * (len(log) - 1)
    assert (log[0]["oldest"], log[-1]["newest"]) == (got[0]["timestamp"], got[-1]["timestamp"])
    body = client.get("/demo/truth", params={"feed": "activity", "wallet": WHALE}).content
    assert [msgspec.json.decode(line) for line in body.splitlines()] == truth()[::-1]
    known = WORLD.standing(WHALE)
    assert known
    standing = get(client, "/demo/standing", wallet=WHALE)
    assert standing == {"cash": known.cash, "shares": known.shares}


def test_tokens_and_resolutions_leave_out_what_they_do_not_know(api: Served, client: httpx.Client):
    won, pending = CLOSED[0], OPEN[0]
    asked = ",".join((won.condition_id, pending.condition_id, f"0x{7:064x}"))
    rows = get(client, "/v2/tokens", condition=asked)["data"]
    assert [row["token_id"] for row in rows] == [*won.tokens, *pending.tokens]
    assert won.payouts
    assert [row["final_price"] for row in rows] == [*(p / 1e6 for p in won.payouts), None, None]
    assert get(client, "/v2/tokens", tokenId=f"7,{won.tokens[1]}")["data"] == [rows[1]]
    crossed = next(market for market in MARKETS if market.crossed)
    token = get(client, "/v2/tokens", token_id=crossed.tokens[0])["data"][0]
    assert (token["outcome_index"], token["clob_index"]) == (0, 1)
    found = get(client, "/v2/resolutions", condition=asked)["data"]
    assert [row["status"] == "resolved" for row in found] == [True, False]
    assert (found[0]["payouts"], found[1]["price"]) == ([*won.payouts], "69")
    assert "payouts" not in found[1]
    by_question = get(client, "/v2/resolutions", question_id=won.question_id)["data"]
    assert by_question == found[:1]
    event = next(market for market in MARKETS if market.neg_risk_id)
    siblings = get(client, "/v2/resolutions", event_id=event.event_id)["data"]
    assert len(siblings) >= 3
    api.state.labels = Labels(lag=int(time.time()) - pending.created + 60)
    assert pending.condition_id not in get(client, "/v2/tokens", condition=asked)["data"]


def test_gamma_hides_closed_markets_and_writes_lists_into_strings(client: httpx.Client):
    ids = [market.condition_id for market in MARKETS]

    def listed(**params: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            body = get(client, "/markets/keyset", **params, **after)
            assert len(body["markets"]) <= int(params.get("limit", 20))
            rows += body["markets"]
            if not body.get("next_cursor"):
                return rows
            after = {"after_cursor": body["next_cursor"]}

    unasked = listed(condition_ids=ids)
    assert {row["conditionId"] for row in unasked} == {m.condition_id for m in OPEN}
    assert unasked == listed(condition_ids=ids, closed="false")
    closed = listed(condition_ids=ids, closed="true", limit=7)
    assert {row["conditionId"] for row in closed} == {m.condition_id for m in CLOSED}
    row = next(row for row in closed if row["conditionId"] == CLOSED[0].condition_id)
    assert msgspec.json.decode(row["clobTokenIds"]) == [*CLOSED[0].tokens]
    assert msgspec.json.decode(row["outcomes"]) == ["Yes", "No"]
    assert all(isinstance(price, str) for price in msgspec.json.decode(row["outcomePrices"]))
    assert "tags" not in row
    assert listed(slug=row["slug"], closed="true", include_tag="true")[0]["tags"]
    free = next(m for m in MARKETS if not m.fee)
    unpaid = listed(condition_ids=[free.condition_id], closed=str(bool(free.resolved_at)).lower())
    assert "feeSchedule" not in unpaid[0]
    volumes = [row["volume"] for row in listed(closed="true", order="volume", ascending="true")]
    assert volumes == sorted(volumes), "sorted as text"
    numbers = [row["volumeNum"] for row in listed(closed="true", order="volumeNum")]
    assert numbers == sorted(numbers, reverse=True)
    for refused in ({"offset": 5}, {"after_cursor": "made-up"}, {"colour": "red"}):
        assert client.get("/markets/keyset", params=refused).status_code == 422


def test_a_market_can_be_resolved_while_the_api_runs(client: httpx.Client):
    market = OPEN[-1]
    steered = client.post("/demo/steer", json={"resolve": {market.condition_id: [0, 1_000_000]}})
    try:
        assert steered.status_code == 200
        row = get(client, "/v2/resolutions", condition=market.condition_id)["data"][0]
        assert (row["status"], row["payouts"]) == ("resolved", [0, 1_000_000])
        ids = {"condition_ids": market.condition_id}
        assert not get(client, "/markets/keyset", **ids)["markets"]
        assert get(client, "/markets/keyset", **ids, closed="true")["markets"]
        unknown = client.post("/demo/steer", json={"resolve": {"0x7": [0, 1]}})
        assert unknown.status_code == 400
    finally:
        WORLD.markets[market.condition_id] = market
        WORLD.version += 1


def test_recorded_activity_is_served_as_it_stands(tmp_path: Path):
    recorded = [{**row, "name": "as recorded"} for row in truth()[::-1]]
    lines = b"\n".join(msgspec.json.encode(row) for row in recorded)
    (tmp_path / "activity.jsonl").write_bytes(lines)
    world = load_directory(tmp_path)
    with serve(State(world, Faults())) as api, httpx.Client(base_url=api.url) as client:
        assert walk(client, **ALL, type=EVERY_TYPE) == recorded
        params = {"user": WHALE, "start": 1, "taker_only": "false", "limit": 1000}
        trades = get(client, "/v2/trades", **params)["data"]
        assert trades == [v2_row(trade) for trade in WORLD.truth(WHALE)[:1000]]
        one = {**recorded[0], "transaction_hash": f"0x{1:064x}", "timestamp": LAST}
        assert client.post("/demo/activity", content=msgspec.json.encode(one)).status_code == 200
        assert get(client, "/v2/activity", **ALL)["data"][0] == one


def test_the_sample_api_as_a_process_takes_ledgers_markets_and_budgets_as_options():
    options = ("--wallets", "2", "--ledgers", "--markets", "3", "--budget", "/v2/tokens=1/60")
    command = [sys.executable, "-m", "polycopy_assets.demo", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            with httpx.Client(base_url=process.stdout.readline().strip(), timeout=60) as client:
                listed = [
                    market["conditionId"]
                    for closed in ("true", "false")
                    for market in get(client, "/markets/keyset", closed=closed)["markets"]
                ]
                assert len(listed) == 3
                asked = [
                    client.get("/v2/tokens", params={"condition": condition}).status_code
                    for condition in listed
                ]
                assert asked == [200, 429, 429]
                wallet = get(client, "/demo/wallets")[0]
                assert get(client, "/demo/standing", wallet=wallet)["shares"]
        finally:
            process.terminate()
