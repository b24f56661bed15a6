"""The feed `activity`: a ledger as served, in segments, in a batch, in the columns of its table."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from polycopy_assets.batches.combine import combine
from polycopy_assets.batches.manifests import read_batches
from polycopy_assets.batches.plan import InRecord, new_claims, next_batch
from polycopy_assets.cli.demo_world import Demo
from polycopy_assets.demo.entry import Labels, activity_row
from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.freshness import Freshness
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import serve
from polycopy_assets.demo.state import State
from polycopy_assets.errors import ConfigurationError, ContractBroken, ObjectDamaged
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.activity.frame import ALWAYS_KNOWN, table_rows
from polycopy_assets.feeds.activity.shapes import SHAPES
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.frame import Frame
from polycopy_assets.feeds.tips.feed import TIPS
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.many_wallets import Fetcher
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.settings import Settings
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.open import open_source
from polycopy_assets.sources.polymarket import MARGIN
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.left_out import refuse_others, settle
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import data_version
from polycopy_assets.trades.shapes import POLYMARKET
from polycopy_assets_tests.ledgers import Sums

WORLD = generate(13, 6, whales=1, whale_trades=1500, ledgers=True)
WALLETS = [wallet.lower() for wallet in WORLD.wallets()]
FRAME: Frame = ACTIVITY.frame()


async def fetched(url: str, store: FeedStore, left_out: Sequence[str] = ()) -> list[Fetched]:
    """All wallets, fetched as a run does it."""
    coverage = CoverageWriter(store, "test")
    async with open_source(
        POLYMARKET,
        url,
        store.feed,
        windows=[Window(999, 1)],
        left_out=left_out,
        concurrency=2,
        timeout=20,
    ) as source:
        fetcher = Fetcher(
            source,
            store,
            concurrency=2,
            known=lambda wallet: (),
            coverage=coverage,
            progress=Progress(),
            segment_bytes=20_000,
        )
        return [
            each
            async for each in fetcher.fetch(WALLETS)
            if isinstance(each, Fetched) or pytest.fail(str(each))
        ]


def combined(store: FeedStore, outcomes: list[Fetched]) -> pl.DataFrame:
    """The rows of the table that a combine makes of the wallets."""
    records = [
        InRecord(each.wallet, data_version(each.segments), each.segments, each.covered_until)
        for each in outcomes
    ]
    found = read_batches(store)
    claims = new_claims(store.names, records, found.held)
    manifest = combine(store, claims, next_batch(store.names, found.sound, ())).manifest
    assert manifest is not None
    rows: list[pl.DataFrame] = []
    for part in manifest.parts:
        with store.local(part.name) as path:
            rows.append(pl.read_parquet(path))
    return pl.concat(rows).filter(pl.col("claim_until").is_null()).select(FRAME.table.keys())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    store = FeedStore(LocalStore(tmp_path_factory.mktemp("store")), ACTIVITY)
    with serve(State(WORLD, Faults())) as api:
        outcomes = asyncio.run(fetched(api.url, store))
    assert len(outcomes) == len(WALLETS)
    return combined(store, outcomes).sort("wallet_address", "timestamp", "sequence")


async def lag(url: str, feed: Feed) -> int:
    """How far the horizon of `feed` trails by the source's own word."""
    async with open_source(
        POLYMARKET, url, feed, windows=[Window(999, 1)], concurrency=1, timeout=20
    ) as source:
        found = await source.horizon()
    assert found.until == found.at - found.lag - found.age - MARGIN
    return found.lag


@pytest.mark.parametrize(
    ("stalled", "trades", "activity"),
    [
        ({}, 5, 5),
        # It follows no contract, so only a feed that names it among its mechanisms waits for it.
        ({"rewards": 1200}, 5, 1200),
        # The status does not say which feed a stream of the chain is read for: all wait.
        ({"collateral": 1200}, 1200, 1200),
        ({"auto_redeem_binary_redemption": 900, "rewards": 40}, 900, 900),
    ],
)
def test_the_horizon_of_a_feed_trails_the_slowest_pipeline_that_may_serve_it(
    stalled: dict[str, int], trades: int, activity: int
):
    state = State(WORLD, Faults())
    with serve(state) as api:
        state.freshness = Freshness(lag=5, pipelines=stalled)
        assert asyncio.run(lag(api.url, TRADES)) == trades
        assert asyncio.run(lag(api.url, ACTIVITY)) == activity


def truth(wallet: str) -> list[dict[str, Any]]:
    """The wallet's rows in the order in which they happened, without tips."""
    rows = [activity_row(entry, Labels(), 2e9) for entry in WORLD.entries(wallet)]
    return [row for row in rows if row["type"] != "TIP"]


def added(rows: list[dict[str, Any]]) -> Sums:
    """What the rows come to; the tips that are missing could be what some cash came from."""
    sums = Sums(WORLD.markets)
    sums.cash = 10**15
    return sums.add(rows)


def of(table: pl.DataFrame, wallet: str) -> pl.DataFrame:
    return table.filter(pl.col("wallet_address") == wallet)


def test_the_table_holds_every_row_of_every_type_but_tips_in_the_order_served(table: pl.DataFrame):
    assert dict(table.schema) == dict(FRAME.table)
    seen: set[str] = set()
    for wallet in WALLETS:
        rows = truth(wallet)
        ours = of(table, wallet)
        assert ours["type"].to_list() == [row["type"] for row in rows]
        assert ours["timestamp"].dt.epoch("s").to_list() == [row["timestamp"] for row in rows]
        assert ours["usdc"].to_list() == [Decimal(f"{row['usdc_size']:.6f}") for row in rows]
        assert ours["shares"].to_list() == [Decimal(f"{row['size']:.6f}") for row in rows]
        assert ours["is_combo"].to_list() == ["is_combo" in row for row in rows]
        seen |= {row["type"] for row in rows}
    assert seen >= {"TRADE", "SPLIT", "MERGE", "REDEEM", "CONVERSION", "REWARD", "DEPOSIT"}
    for name in ALWAYS_KNOWN:
        assert table[name].null_count() == 0, name
    ids = table.select("wallet_address", "id")
    assert len(ids.unique()) == len(table)


@pytest.mark.parametrize("left_out", [["DEPOSIT", "WITHDRAWAL"], ["DEPOSIT", "REWARD", "YIELD"]])
def test_types_that_are_left_out_are_not_fetched(
    tmp_path: Path, table: pl.DataFrame, left_out: list[str]
):
    store = FeedStore(LocalStore(tmp_path), ACTIVITY)
    with serve(State(WORLD, Faults())) as api:
        found = combined(store, asyncio.run(fetched(api.url, store, left_out)))
    assert set(table["type"]) >= set(left_out)
    kept = table.filter(~pl.col("type").is_in(left_out))
    columns = ["wallet_address", "timestamp", "type", "usdc", "shares"]
    assert sorted(found.select(columns).rows()) == sorted(kept.select(columns).rows())


def test_tips_are_a_feed_of_their_own_with_the_same_columns(tmp_path: Path):
    store = FeedStore(LocalStore(tmp_path), TIPS)
    with serve(State(WORLD, Faults())) as api:
        found = combined(store, asyncio.run(fetched(api.url, store)))
    assert dict(found.schema) == dict(FRAME.table)
    truth = [entry for wallet in WALLETS for entry in WORLD.entries(wallet) if entry.type == "TIP"]
    assert {entry.side for entry in truth} == {"IN", "OUT"}
    assert sorted(found["usdc"]) == sorted(Decimal(entry.usdc) / 10**6 for entry in truth)
    assert set(found["type"]) == {"TIP"}


def test_the_demo_knows_what_the_table_of_each_feed_must_hold(table: pl.DataFrame):
    with serve(State(WORLD, Faults())) as api:
        whole = Demo(Settings(feeds=("trades", "activity", "tips")), api, "")
        types = Counter(each.type for wallet in WALLETS for each in WORLD.entries(wallet))
        assert [whole.rows(feed) for feed in whole.feeds] == [
            sum(len(WORLD.truth(wallet)) for wallet in WALLETS),
            len(table),
            types["TIP"],
        ]
        assert [whole.requests(feed) for feed in whole.feeds] == [0, 0, 0]
        part = Demo(Settings(activity_without=("DEPOSIT", "REWARD")), api, "")
        assert part.rows(ACTIVITY) == len(table) - types["DEPOSIT"] - types["REWARD"]


def test_what_a_store_leaves_out_is_settled_by_its_first_fetch(tmp_path: Path):
    whole = LocalStore(tmp_path)
    store, name = FeedStore(whole, ACTIVITY), ACTIVITY.names.left_out
    settle(FeedStore(whole, TRADES), [])
    assert not [*tmp_path.iterdir()], "a feed without types costs nothing"
    settle(store, ["DEPOSIT"])
    settle(store, ["DEPOSIT"])
    for other, asked in product(([], ["DEPOSIT", "YIELD"]), (settle, refuse_others)):
        with pytest.raises(ConfigurationError, match=r"begun without DEPOSIT.*WITHOUT=DEPOSIT,"):
            asked(store, other)
    refuse_others(store, ["DEPOSIT"])
    kept = store.read(name)
    store.delete(name)
    refuse_others(store, ["YIELD"])
    settle(store, [])
    with pytest.raises(ConfigurationError, match=r"was begun whole.*unset POLYCOPY_ACTIVITY_"):
        settle(store, ["DEPOSIT"])
    store.delete(name)
    names = store.names
    for begun in (
        names.segment(WALLETS[0], Interval(0, 9)),
        names.coverage_object(1, "a" * 8, "b" * 8),
    ):
        store.create(begun, b"")
        with pytest.raises(ObjectDamaged, match=r'is not there, .* earlier .*\{"types":\[\]\}'):
            settle(store, [])
        store.delete(begun)
    store.create(name, kept)
    settle(store, ["DEPOSIT"])
    store.delete(name)
    store.create(name, b'{"types":["WITHDRAWAL","DEPOSIT"]}')
    settle(store, ["DEPOSIT", "WITHDRAWAL"])
    store.delete(name)
    store.create(name, b"{")
    with pytest.raises(ObjectDamaged, match="is damaged"):
        settle(store, ["DEPOSIT"])


def test_cash_and_shares_of_the_table_add_up_to_the_last_digit(table: pl.DataFrame):
    for wallet in WALLETS:
        ours = [
            {
                **row,
                "size": float(row["shares"]),
                "usdc_size": float(row["usdc"]),
                "side": row["side"] or "",
            }
            for row in of(table, wallet).iter_rows(named=True)
        ]
        theirs, sums = (added(rows) for rows in (truth(wallet), ours))
        assert (sums.cash, sums.held()) == (theirs.cash, theirs.held())


def test_the_fee_of_a_trade_is_told_and_takes_nothing_from_makers(table: pl.DataFrame):
    makers: dict[bool, int] = defaultdict(int)
    for wallet in WALLETS:
        entries = [entry for entry in WORLD.entries(wallet) if entry.type != "TIP"]
        for entry, fee in zip(entries, of(table, wallet)["fee_usdc"], strict=True):
            if entry.type != "TRADE" or entry.is_combo:
                assert fee is None
                continue
            paid = entry.usdc - entry.size * entry.price
            expected = abs(paid) / 1_000_000 if not entry.maker else 0
            assert fee is not None
            assert abs(float(fee) - expected) < 6e-6, entry
            makers[entry.maker] += 1
    assert makers[True]
    assert makers[False]


def served(**changes: Any) -> pl.DataFrame:
    """One row as served, as a frame."""
    row = {**truth(WALLETS[0])[0], **changes}

    read = SHAPES.of(POLYMARKET).row(msgspec.json.encode(row))
    return FRAME.served_frame(POLYMARKET, FRAME.columns_of(SHAPES, POLYMARKET, [read]))


def test_what_a_row_does_not_say_is_null_and_an_unknown_type_is_kept():
    (row,) = table_rows(
        served(
            type="AIRDROP",
            size=None,
            usdc_size=None,
            side="",
            token_id="",
            condition_id="",
            outcome_index=999,
            transaction_hash="",
            price=0.0,
        )
    ).iter_rows(named=True)
    assert row["type"] == "AIRDROP"
    nothing = ("shares", "usdc", "fee_usdc", "side", "token_id", "condition_id", "outcome_index")
    assert [row[name] for name in (*nothing, "tx_hash", "price")] == [None] * 9
    second = int(row["timestamp"].timestamp())
    assert row["id"] == f"{second}-0"


def test_rows_without_a_transaction_are_numbered_by_their_second():
    rows = pl.concat([served(transaction_hash="", type="YIELD", usdc_size=1.5)] * 2)
    later = rows.with_columns(pl.col("timestamp") + 1)
    ids = table_rows(pl.concat([later, rows]))["id"].to_list()
    assert len(set(ids)) == 4
    assert [text.rpartition("-")[2] for text in ids] == ["0", "1", "0", "1"]


@pytest.mark.parametrize(
    ("usdc", "side", "fee"),
    [
        (11.876799, "BUY", Decimal(0)),  # the notional was cut off
        (12.16184, "BUY", Decimal("0.28504")),
        (11.59176, "SELL", Decimal("0.28504")),
        (11.5, "BUY", None),  # less was paid than the price: no fee explains that
        (12.5, "SELL", None),
    ],
)
def test_a_fee_is_told_only_if_the_cash_differs_the_way_a_fee_does(
    usdc: float, side: str, fee: Decimal | None
):
    frame = served(type="TRADE", size=22.84, price=0.52, usdc_size=usdc, side=side)
    assert table_rows(frame)["fee_usdc"].to_list() == [fee]


@pytest.mark.parametrize("field", ["size", "usdc_size"])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_amount_that_the_table_cannot_hold_is_refused_when_it_is_served(field: str, sign: int):
    (row,) = table_rows(served(**{field: sign * 9.9e28})).iter_rows(named=True)
    assert abs(row["shares" if field == "size" else "usdc"]) > 10**28
    for amount in (1e29, 1e30, 1e300):
        with pytest.raises(ContractBroken, match=field):
            served(**{field: sign * amount})


def test_a_price_that_is_none_makes_no_fee():
    frame = served(type="TRADE", size=1.0, price=1e300, usdc_size=1.0, side="SELL")
    assert table_rows(frame)["fee_usdc"].to_list() == [None]


def test_what_is_strange_is_counted_for_a_warning():
    shape = SHAPES.of(POLYMARKET)

    row = truth(WALLETS[0])[0]
    rows = [
        shape.row(msgspec.json.encode({**row, **changes}))
        for changes in ({}, {"type": "AIRDROP"}, {"size": -1.0}, {"usdc_size": None})
    ]
    assert shape.oddities(rows) == {
        "unknown type 'AIRDROP'": 1,
        "size below 0": 1,
        "no usdc_size": 1,
    }


@pytest.mark.parametrize("field", ["type", "proxy_wallet", "timestamp", "size", "usdc_size"])
def test_a_row_that_lacks_what_the_ledger_needs_breaks_the_contract(field: str):

    row = dict(truth(WALLETS[0])[0])
    del row[field]
    with pytest.raises(ContractBroken, match=field):
        SHAPES.of(POLYMARKET).row(msgspec.json.encode(row))
