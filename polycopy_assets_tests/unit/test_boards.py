"""Boards: walked as the source serves them, each wallet once; and the sample API is as strict."""

import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import polymarket
import pytest
import stamina
from polymarket.environments import PRODUCTION, _create_environment

from polycopy_assets.boards import board as core
from polycopy_assets.boards.board import CATEGORIES, Asked, Entry
from polycopy_assets.boards.snapshot import Snapshot, pack, parse_name, snapshot_of, unpack
from polycopy_assets.boards.walk import MOST_EMPTY, BoardPage, Row, Walk, empty
from polycopy_assets.boards.wanted import wanted
from polycopy_assets.demo import boards
from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served, serve
from polycopy_assets.demo.state import State
from polycopy_assets.errors import (
    ConfigurationError,
    ContractBroken,
    ObjectUnreadable,
    PermanentError,
    TransientError,
)
from polycopy_assets.pipeline.discover import read_board
from polycopy_assets.settings import boards as setting
from polycopy_assets.settings import read_settings
from polycopy_assets.sources import boards as source
from polycopy_assets.sources.boards import check_has_boards, open_boards
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.hosts import Sending
from polycopy_assets.sources.http import Answer

WORLD = generate(11, 30, most_trades=40)
MARKET = "sample-market-14"
HOSTILE = "\x1b[2J\x1b]0;owned\x07a\r\nb\u202egnp.exe\u2066" + "x" * 10_000


@pytest.fixture(scope="module")
def api() -> Iterator[Served]:
    with serve(State(WORLD, Faults())) as api:
        yield api


@pytest.fixture(autouse=True)
def small_pages(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    api.state.faults.set({})
    api.state.board_shift = 0
    WORLD.names = {}
    monkeypatch.setattr(source, "LIMIT", 7)
    monkeypatch.setattr(source, "HOLDERS_LIMIT", 4)


def read(api: Served, asked: Asked, sent: Callable[[], None] = lambda: None) -> core.Board:
    how = Sending(windows=[Window(1000, 1)], concurrency=2, timeout=5, on_request=sent)
    return read_board(asked, lambda: open_boards(api.url, api.url, how))


def get(api: Served, path: str, **params: Any) -> httpx.Response:
    return httpx.get(api.url + path, params=params)


def ranked(asked: Asked) -> list[str]:
    rows = boards.leaderboard(WORLD, asked.window, asked.category, asked.by.upper())
    return [row["user_id"].lower() for row in rows]


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_a_board_that_moves_while_it_is_walked_gives_each_wallet_once(api: Served, shift: int):
    api.state.board_shift = shift
    asked = Asked(window="all", top=1000)
    found = read(api, asked)
    assert [entry.wallet for entry in found.entries] == ranked(asked)
    assert found.repeated == shift * (found.pages - 1)
    assert found.ended
    assert "it has 29 wallets" in found.depth


def test_a_board_that_skips_rows_is_no_error_and_an_unknown_category_is_said(api: Served):
    api.state.board_shift = -2
    found = read(api, Asked(window="all", top=1000))
    assert 0 < len(found.entries) < 29
    nothing = read(api, Asked(window="all", category="politic"))
    assert nothing.entries == ()
    assert "category that it does not know" in empty(nothing.asked)


def test_only_as_many_are_asked_for_as_are_wanted_and_more_is_said(api: Served):
    api.state.counts.reset()
    asked = Asked(window="all", by="volume", top=9)
    found = read(api, asked)
    assert [entry.wallet for entry in found.entries] == ranked(asked)[:9]
    assert len(api.state.counts.board_arrivals) == found.pages == found.requests == 2
    assert not found.ended
    assert "--top asks for more" in found.depth


def test_winners_are_wallets_with_their_best_win(api: Served):
    found = read(api, Asked(kind="winners", window="all", top=1000))
    rows = boards.winners(WORLD, "all", "overall")
    best: dict[str, float] = {}
    for row in rows:
        best.setdefault(row["user_id"].lower(), row["pnl"])
    assert {entry.wallet: entry.pnl for entry in found.entries} == best
    assert found.repeated == len(rows) - len(best) > 0
    assert f"all of its {len(rows)} wins" in found.depth


@pytest.mark.parametrize("top", [3, 1000])
def test_holders_of_all_outcomes_are_one_list_by_what_they_hold(api: Served, top: int):
    condition = boards.condition_of(WORLD, MARKET)
    assert condition
    most: dict[str, float] = {}
    lists = list(boards.holders(WORLD, condition).values())
    assert sorted(map(len, lists)) == [2, 4]
    for rows in lists:
        for row in rows:
            wallet = row["proxy_wallet"].lower()
            most[wallet] = max(most.get(wallet, 0.0), row["amount"])
    expected = sorted(most, key=lambda wallet: -most[wallet])[:top]
    for market in (MARKET, condition.upper().replace("0X", "0x")):
        found = read(api, Asked(kind="holders", market=market, top=top))
        assert [entry.wallet for entry in found.entries] == expected
        assert [entry.rank for entry in found.entries] == list(range(1, len(expected) + 1))
        assert found.rows == sum(min(len(rows), top) for rows in lists), "and no more are asked for"
    with pytest.raises(PermanentError, match=r"the market 'no-such'.*slug not found"):
        read(api, Asked(kind="holders", market="no-such"))


def test_a_page_that_fails_is_an_error_and_not_the_end_of_the_board(api: Served):
    sent: list[int] = []

    def failing_from_the_second() -> None:
        sent.append(1)
        if len(sent) == 2:
            api.state.faults.set({"unavailable": 1.0})

    with (
        stamina.set_testing(True, attempts=3),
        pytest.raises(TransientError, match=r"leaderboard by pnl, all, overall: 503.*3 attempts"),
    ):
        read(api, Asked(window="all", top=1000), failing_from_the_second)
    assert len(sent) == 4
    sent.clear()

    def failing_once() -> None:
        sent.append(1)
        api.state.faults.set({"unavailable": 1.0 if len(sent) == 2 else 0.0})

    api.state.faults.set({"unavailable": 0.0})
    with stamina.set_testing(True, attempts=3):
        found = read(api, Asked(window="all", top=1000), failing_once)
    assert len(found.entries) == 29
    assert found.requests == found.pages + 1


def test_a_name_is_shown_in_one_harmless_line_and_kept_short(api: Served):
    first = ranked(Asked(window="all"))[0]
    WORLD.names[first] = HOSTILE
    entry = read(api, Asked(window="all", top=1)).entries[0]
    assert entry.wallet == first
    assert entry.shown.isprintable()
    assert entry.shown.startswith("\\x1b[2J\\x1b]0;owned\\x07a\\r\\nb")
    assert len(entry.shown) <= 41
    assert len(entry.name) == core.MOST_NAME


def test_the_official_client_walks_the_sample_boards(api: Served):
    api.state.board_shift = 1
    environment = _create_environment(
        name="sample", config=replace(PRODUCTION._config, data_url=api.url)
    )
    condition = boards.condition_of(WORLD, MARKET)
    assert condition
    with polymarket.PublicClient(environment=environment) as client:
        pages = client.list_trader_leaderboard(window="all", page_size=10)
        walked = [row.wallet.lower() for page in pages for row in page.items]
        standing = client.get_trader_leaderboard_standing(user=walked[3], window="all")
        wins = [row for page in client.list_biggest_winners(window="all") for row in page.items]
        groups = [
            group
            for page in client.list_market_holders(condition_ids=condition, include_pnl=True)
            for group in page.items
        ]
    assert len(walked) > len(set(walked))
    assert set(walked) == set(ranked(Asked(window="all")))
    assert standing
    assert standing.pnl_rank == ranked(Asked(window="all")).index(walked[3]) + 1
    assert len(wins) == len(boards.winners(WORLD, "all", "overall"))
    assert sum(len(group.holders) for group in groups) == sum(
        map(len, boards.holders(WORLD, condition).values())
    )


@pytest.mark.parametrize(
    ("path", "params", "parameter"),
    [
        ("leaderboard", {"limit": 1001}, "limit"),
        ("leaderboard", {"limit": "ten"}, "limit"),
        ("leaderboard", {"offset": 10}, "offset"),
        ("leaderboard", {"time_period": "year"}, "time_period"),
        ("leaderboard", {"sort_by": "pnl"}, "sort_by"),
        ("leaderboard", {"cursor": "made-up"}, "cursor"),
        ("leaderboard", {"cursor": "winners"}, "cursor"),
        ("leaderboard", {"cursor": "own", "time_period": "day"}, "time_period"),
        ("leaderboard", {"cursor": "own", "sort_by": "VOLUME"}, "sort_by"),
        ("biggest-winners", {"sort_by": "PNL"}, "sort_by"),
        ("biggest-winners", {"cursor": "own"}, "cursor"),
        ("holders", {}, "condition"),
        ("holders", {"condition": "0x12"}, "condition"),
        ("holders", {"condition": f"0x{1:062x}"}, "condition"),
        ("holders", {"condition": f"0x{1:064x}", "limit": 101, "include_pnl": "true"}, "limit"),
        (
            "holders",
            {"condition": f"0x{1:064x},0x{2:064x}", "include_pnl": "true"},
            "condition",
        ),
    ],
)
def test_the_sample_api_refuses_what_the_real_one_refuses(
    api: Served, path: str, params: dict[str, Any], parameter: str
):
    cursors = {
        "own": get(api, "/v2/leaderboard", time_period="all", limit=2),
        "winners": get(api, "/v2/biggest-winners", time_period="all", limit=2),
    }
    if found := cursors.get(params.get("cursor", "")):
        params = {**params, "cursor": found.json()["pagination"]["next_cursor"]}
    answer = get(api, f"/v2/{path}", **params)
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["parameter"]) == ("invalid_request", parameter)


def page(*wallets: str, cursor: str | None = None) -> BoardPage:
    rows = [Row(wallet=wallet, rank=rank) for rank, wallet in enumerate(wallets, start=1)]
    return BoardPage(rows=rows, cursor=cursor, requests=1, date=0.0)


def wallet(number: int) -> str:
    return f"0x{number:040x}"


def test_a_walk_without_an_end_is_a_broken_contract():
    walk = Walk(Asked(top=100))
    walk.add(page(wallet(1), cursor="a"))
    walk.add(page(wallet(2), cursor="b"))
    with pytest.raises(ContractBroken, match="cursor of page 3 is that of an earlier page"):
        walk.add(page(wallet(3), cursor="a"))
    walk = Walk(Asked(top=100))
    for number in range(MOST_EMPTY):
        walk.add(page(wallet(1), cursor=str(number)))
    with pytest.raises(ContractBroken, match="no row that was not there before"):
        walk.add(page(wallet(1), cursor="last"))
    for pages in (b'"has_more":true', b'"has_more":false,"next_cursor":"a"'):
        body = b'{"data":[],"pagination":{' + pages + b"}}"
        for read_page in (source._leaderboard, source._winners, source._holders):
            with pytest.raises(ContractBroken, match="more pages without a cursor"):
                read_page(Answer(body, 1, "trace"))


def test_what_is_no_wallet_on_a_board_is_named_and_left_out():
    walk = Walk(Asked(top=100))
    walk.add(page(wallet(1).upper().replace("0X", "0x"), "0x12", "../../etc", wallet(1)))
    found = walk.board()
    assert [entry.wallet for entry in found.entries] == [wallet(1)]
    assert found.refused == ("0x12", "../../etc")
    assert found.repeated == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"category": "Sport; DROP"}, "--category 'Sport; DROP' is not accepted"),
        ({"category": "combos", "by": "volume"}, "combos are ranked by PnL alone: leave out --by"),
        ({"kind": "winners", "by": "volume"}, "winners are ranked by PnL alone: leave out --by"),
        ({"kind": "holders", "market": "../status"}, "--market '../status' is not accepted"),
        ({"kind": "holders", "market": ""}, "--market '' is not accepted"),
        ({"top": 0}, "--top '0' is not accepted"),
        ({"top": core.MOST + 1}, "expected a whole number from 1 to 10000"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_a_request(options: dict[str, Any], said: str):
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        Asked(**options)


def test_dome_has_no_boards():
    with pytest.raises(ConfigurationError, match="'dome' has no leaderboard"):
        check_has_boards("dome")


# -- snapshots, the policy, the settings --------------------------------------------------------

AT = 1_795_954_752


def snapshot(at: int = AT, **changes: Any) -> Snapshot:
    entries = tuple(Entry(rank=n, wallet=wallet(n), name=HOSTILE[:9]) for n in (1, 2, 2, 4))
    plain: dict[str, Any] = {"window": "week", "by": "pnl", "category": "overall", "top": 4}
    return Snapshot(at=at, ended=False, **{**plain, "entries": entries, **changes})


def test_a_snapshot_is_read_as_it_was_packed_and_its_name_says_what_it_is():
    taken = snapshot()
    name = "leaderboard/2026-11-29/week-pnl-overall.json.gz"
    key = parse_name(name)
    assert key == taken.key
    assert taken.key.name == name
    assert unpack(pack(taken), taken.key) == taken
    assert pack(taken) == pack(snapshot())
    for other in ("leaderboard/2026-02-30/week-pnl-overall.json.gz", "leaderboard/x", name + "x"):
        assert parse_name(other) is None


def test_a_damaged_snapshot_is_not_believed():
    whole = pack(snapshot())
    key = snapshot().key
    for damaged in (b"", whole[:-9], b"{}", pack(snapshot(AT - 86_400))):
        with pytest.raises(ContractBroken):
            unpack(damaged, key)
    for at in (-1, -(10**15), 10**13, 2**62):
        whole = gzip.compress(
            gzip.decompress(pack(snapshot())).replace(str(AT).encode(), b"%d" % at)
        )
        with pytest.raises(ContractBroken, match="damaged"):
            unpack(whole, key)
    for wrong in (
        Entry(rank=1, wallet="../../x"),
        Entry(rank=1, wallet=wallet(1) + "\n"),
        Entry(rank=1, wallet="0X" + wallet(1)[2:]),
        Entry(rank=0, wallet=wallet(1)),
        Entry(rank=2**63, wallet=wallet(1)),
    ):
        with pytest.raises(ContractBroken, match="damaged"):
            unpack(pack(snapshot(entries=(wrong,))), key)
    with pytest.raises(ObjectUnreadable, match="has version 2, which a newer polycopy wrote"):
        unpack(pack(snapshot(version=2)), key)


def test_no_snapshot_is_taken_of_an_empty_board_or_at_an_unknown_time(api: Served):
    found = read(api, Asked(window="all", category="nothing-there"))
    with pytest.raises(ContractBroken, match="the board is empty"):
        snapshot_of(found)
    whole = read(api, Asked(window="all", top=1))
    with pytest.raises(ContractBroken, match="its day is unknown"):
        snapshot_of(msgspec.structs.replace(whole, at=None))


def test_the_policy_wants_the_first_ranks_ties_included():
    entries = snapshot().entries
    assert wanted(entries, 0, ()) == []
    assert wanted(entries, 2, ()) == [wallet(1), wallet(2), wallet(2)]
    assert wanted(entries, 4, {wallet(1)})[-1] == wallet(4)


def test_settings_and_core_have_the_same_words_and_defaults():
    assert (setting.WINDOWS, setting.SORTS, setting.MOST) == (core.WINDOWS, core.SORTS, core.MOST)
    found = read_settings({})
    assert setting.parse_boards(found.leaderboard) == (("week", "pnl", "overall", 1000),)
    assert found.leaderboard_wanted == 0
    assert found.markets_url == "https://gamma-api.polymarket.com"
    other = read_settings({"POLYCOPY_SOURCE_URL": "http://127.0.0.1:1"})
    assert other.markets_url == "http://127.0.0.1:1"
    assert set(boards.CATEGORIES) < set(CATEGORIES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POLYCOPY_LEADERBOARD", "week/pnl/overall"),
        ("POLYCOPY_LEADERBOARD", "year/pnl/overall/10"),
        ("POLYCOPY_LEADERBOARD", "week/pnl/overall/0"),
        ("POLYCOPY_LEADERBOARD", "week/pnl/overall/10001"),
        ("POLYCOPY_LEADERBOARD", "week/pnl/overall/10,week/pnl/overall/20"),
        ("POLYCOPY_LEADERBOARD", "week/volume/combos/10"),
        ("POLYCOPY_LEADERBOARD", "week/pnl/../10"),
        ("POLYCOPY_LEADERBOARD_WANTED", "all"),
        ("POLYCOPY_MARKETS_URL", "gamma-api.polymarket.com"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str):
    with pytest.raises(ConfigurationError, match=f"^{name}="):
        read_settings({name: value})
