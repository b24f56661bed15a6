"""The sample API's combos: they add up with the ledger, and Polymarket's own client reads them."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import polymarket
import pytest
from polymarket.environments import PRODUCTION, _create_environment

from polycopy_assets.demo.combos import LIFECYCLE, REPACKED
from polycopy_assets.demo.entry import MICRO, Labels, activity_row
from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.freshness import Freshness
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.recorded import load_directory
from polycopy_assets.demo.server import Served, serve
from polycopy_assets.demo.state import State
from polycopy_assets.dimensions.facts import is_combo, parse_condition

WORLD = generate(5, 3, whales=1, whale_trades=3000, ledgers=True)
WHALE = WORLD.wallets()[0]
COMBOS = list(WORLD.combos.known.values())
PATH = "/v2/activity/combos"


@pytest.fixture(scope="module")
def api() -> Iterator[Served]:
    with serve(State(WORLD, Faults())) as api:
        yield api


@pytest.fixture
def client(api: Served) -> Iterator[httpx.Client]:
    api.state.freshness, api.state.labels = Freshness(), Labels()
    api.state.faults.set_wallets({})
    with httpx.Client(base_url=api.url, timeout=60) as client:
        yield client


def get(client: httpx.Client, path: str, **params: Any) -> Any:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def walk(client: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        body = get(client, PATH, **{"user": WHALE, **params}, **cursor)
        rows += body["data"]
        if not body["pagination"]["has_more"]:
            return rows
        cursor = {"cursor": body["pagination"]["next_cursor"]}


def ledger() -> list[dict[str, Any]]:
    """The rows of `/v2/activity` about combos, newest first."""
    rows = [activity_row(entry, Labels(redeem_tokens=True), LAST) for entry in WORLD.entries(WHALE)]
    return [row for row in rows if row.get("is_combo")][::-1]


def micro(amount: float) -> int:
    return round(amount * MICRO)


def test_combos_add_up_with_the_ledger_in_cash_and_in_shares(client: httpx.Client):
    rows = walk(client, limit=7)
    assert rows == walk(client)
    kinds = {row["type"] for row in rows}
    assert set(LIFECYCLE) < kinds <= {*LIFECYCLE, *REPACKED}
    places = [(row["block_number"], int(row["id"].rpartition("-")[2])) for row in rows]
    assert places == sorted(places, reverse=True)
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(row["id"].startswith(f"{row['transaction_hash']}-") for row in rows)

    said = [
        (row["transaction_hash"], row["type"], micro(row["size"]), micro(row["usdc_size"]))
        for row in ledger()
        if row["type"] != "TRADE"
    ]
    assert said == [
        (
            row["transaction_hash"],
            row["type"],
            micro(row["amount_usdc"]),
            micro(row["amount_usdc"] if row["payout_usdc"] is None else row["payout_usdc"]),
        )
        for row in rows
        if row["type"] in LIFECYCLE
    ]
    assert all(row["amount_usdc"] is None for row in rows if row["type"] in REPACKED)

    # What was bought, and not redeemed since, is what the wallet has.
    held: Counter[str] = Counter()
    for row in ledger():
        if row["type"] == "TRADE":
            held[row["token_id"]] += micro(row["size"])
    tokens = {combo.structural_id: combo.tokens for combo in COMBOS}
    for row in rows:
        if row["type"] == "REDEEM":
            held[row["combo_position_id"]] -= micro(row["amount_usdc"])
        elif row["type"] in ("SPLIT", "MERGE"):
            sign = 1 if row["type"] == "SPLIT" else -1
            for token in tokens[row["combo_condition_id"]]:
                held[token] += sign * micro(row["amount_usdc"])
    standing = WORLD.standing(WHALE)
    assert standing
    every = {token for pair in tokens.values() for token in pair}
    assert +held == {t: shares for t, shares in standing.shares.items() if t in every}


def test_a_share_of_a_combo_pays_what_its_legs_pay(client: httpx.Client):
    paid = Counter[bool]()
    for row in walk(client):
        statuses = [leg["leg_status"] for leg in row["legs"]]
        assert statuses
        for leg in row["legs"]:
            market = WORLD.markets[leg["leg_condition_id"]]
            assert leg["leg_position_id"] == market.tokens[leg["leg_outcome_index"]]
        if row["type"] == "REDEEM":
            (token,) = get(client, "/v2/tokens", token_id=row["combo_position_id"])["data"]
            yes = 0 if "RESOLVED_LOSS" in statuses else 1
            assert token["final_price"] == abs(token["outcome_index"] - yes)
            assert row["payout_usdc"] == pytest.approx(row["amount_usdc"] * token["final_price"])
            paid[bool(row["payout_usdc"])] += 1
    assert min(paid[True], paid[False]) > 0


def test_tokens_of_combos_are_found_by_token_and_by_condition_however_it_is_written(
    api: Served, client: httpx.Client
):
    combo = COMBOS[0]
    rows = get(client, "/v2/tokens", token_id=",".join(combo.tokens))["data"]
    assert [(row["module"], row["outcome"]) for row in rows] == [("combo", "Yes"), ("combo", "No")]
    assert {row["condition_id"] for row in rows} == {combo.condition_id}
    for written in (combo.structural_id, combo.condition_id, f"{combo.structural_id}01"):
        assert get(client, "/v2/tokens", condition=written)["data"] == rows
        assert parse_condition(written) == combo.condition_id
        assert is_combo(combo.condition_id)
    both = get(client, "/v2/tokens", condition=f"{combo.structural_id},{combo.condition_id}")
    assert both["data"] == rows, "asked for twice, answered once"
    for path, params in (
        ("/v2/resolutions", {"condition": combo.condition_id}),
        ("/markets/keyset", {"condition_ids": combo.condition_id}),
    ):
        body = get(client, path, **params)
        assert body.get("data", body.get("markets")) == [], "a combo is no market"
    api.state.labels = Labels(lag=10**10)
    assert not get(client, "/v2/tokens", condition=combo.condition_id)["data"]


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"user": None}, "user"),
        ({"user": "0x4d97dcd97ec945f40cf65f87097ace5ea0476045"}, "user"),
        ({"limit": 1001}, "limit"),
        ({"offset": 0}, "offset"),
        ({"type": "REDEEM"}, "type"),
        ({"start": 1}, "start"),
        ({"sort_direction": "ASC"}, "sort_direction"),
        ({"cursor": "made-up"}, "cursor"),
        ({"condition": "0x03"}, "condition"),
        ({"condition": ",".join(f"0x03{n:060x}" for n in range(21))}, "condition"),
    ],
)
def test_what_the_route_does_not_accept_is_refused_by_name(
    client: httpx.Client, params: dict[str, Any], parameter: str
):
    sent = {name: value for name, value in {"user": WHALE, **params}.items() if value is not None}
    answer = client.get(PATH, params=sent)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["parameter"] == parameter


def test_filters_cursors_lags_and_faults_are_those_of_a_feed(api: Served, client: httpx.Client):
    every = walk(client)
    one = every[0]["combo_condition_id"]
    filtered = walk(client, condition=f"{one}01")
    assert filtered == [row for row in every if row["combo_condition_id"] == one]
    first = get(client, PATH, user=WHALE, limit=2)["pagination"]["next_cursor"]
    assert get(client, PATH, user=WHALE, cursor=first)["data"] == every[2:4], "its page size"
    again = get(client, PATH, user=WHALE, cursor=first, condition=one)["data"]
    assert again == filtered[:2], "with other filters it begins from the start"
    foreign = client.get("/v2/activity", params={"user": WHALE, "cursor": first})
    assert foreign.json()["parameter"] == "cursor"
    assert not get(client, PATH, user="0x" + "1" * 40)["data"]

    newest = max(row["timestamp"] for row in every if row["type"] == "REDEEM")
    age = int(time.time()) - newest + 60
    api.state.freshness = Freshness(pipelines={"auto_redeem_binary_redemption": age})
    behind = walk(client)
    assert max(r["timestamp"] for r in behind if r["type"] == "SPLIT") <= newest
    assert not [r for r in behind if r["type"] == "REDEEM" and r["timestamp"] == newest]
    assert [r for r in behind if r["type"] != "REDEEM"] == [
        r for r in every if r["type"] != "REDEEM"
    ]
    api.state.freshness = Freshness()
    api.state.faults.set_wallets({WHALE: "combos:dropped"})
    assert len(walk(client)) < len(every)
    api.state.faults.set_wallets({WHALE: "combos:401"})
    assert client.get(PATH, params={"user": WHALE}).status_code == 401
    assert client.get("/v2/activity", params={"user": WHALE}).status_code == 200


def test_polymarkets_own_client_walks_combos_and_their_tokens(api: Served, client: httpx.Client):
    served = walk(client)
    config = replace(PRODUCTION._config, data_url=api.url, gamma_url=api.url)
    environment = _create_environment(name="sample", config=config)
    with polymarket.PublicClient(environment=environment) as official:
        pages = official.list_combo_activity(user=WHALE, page_size=7)
        rows = [row for page in pages for row in page.items]
        assert [(row.id, row.type) for row in rows] == [(row["id"], row["type"]) for row in served]
        assert [row.amount for row in rows] == [
            None if row["amount_usdc"] is None else Decimal(str(row["amount_usdc"]))
            for row in served
        ]
        assert all(leg.market for row in rows for leg in row.legs)
        wanted = [combo.condition_id for combo in COMBOS[:10]]
        tokens = official.get_token_references(condition_ids=wanted)
        assert {token.condition_id for token in tokens} == set(wanted)
        assert {token.module for token in tokens} == {"combo"}


def test_recorded_combos_are_served_as_they_stand(client: httpx.Client, tmp_path: Path):
    recorded = [{**row, "new_field": "as recorded"} for row in walk(client)]
    whole = [activity_row(entry, Labels(), LAST) for entry in WORLD.entries(WHALE)][::-1]
    other = WORLD.wallets()[1]
    theirs = [activity_row(e, Labels(), LAST) for e in reversed(WORLD.entries(other))]
    files = {"combos": recorded, "activity-1": whole[:900], "activity-2": [*whole[900:], *theirs]}
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    with (
        serve(State(load_directory(tmp_path), Faults())) as api,
        httpx.Client(base_url=api.url, timeout=60) as replay,
    ):
        assert walk(replay, limit=5) == recorded
        bought = next(row for row in whole if row.get("is_combo") and row["type"] == "TRADE")
        tokens = get(replay, "/v2/tokens", condition=bought["condition_id"])["data"]
        assert bought["token_id"] in {token["token_id"] for token in tokens}
        every = {"start": 1, "exclude_deposits_withdrawals": "false", "limit": 1000}
        for wallet, rows in ((other, theirs), (WHALE, whole)):
            page = get(replay, "/v2/activity", user=wallet, **every)["data"]
            untold = [row for row in rows if row["type"] != "TIP"]
            assert page == untold[:1000], "files are no wallets"
    (tmp_path / "combos.jsonl").unlink()
    with (
        serve(State(load_directory(tmp_path), Faults())) as api,
        httpx.Client(base_url=api.url, timeout=60) as replay,
    ):
        made = walk(replay)
        assert [row["type"] for row in made] == [
            row["type"] for row in recorded if row["type"] in LIFECYCLE
        ]
