"""Generated ledgers: consistent to the last micro-USDC, and as awkward as real ones."""

import hashlib
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycopy_assets.demo.entry import TYPES, Entry, Labels, activity_row
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.ledger.book import Book
from polycopy_assets.demo.world import World, dome_row, v2_row
from polycopy_assets_tests.ledgers import Sums

AS_EVER = "0c7ac92b5b9da2435644785139906413f822b999c9822179ea644ad23f1343f3"
SHARED = (
    *("proxy_wallet", "timestamp", "condition_id", "size", "price", "transaction_hash"),
    *("token_id", "side", "outcome_index", "title", "slug", "event_slug", "outcome"),
)


def rows(world: World, wallet: str) -> list[dict[str, Any]]:
    return [activity_row(entry, Labels(), LAST) for entry in world.entries(wallet)]


def entries(world: World) -> list[Entry]:
    return [entry for wallet in world.wallets() for entry in world.entries(wallet)]


def test_worlds_without_ledgers_are_the_same_as_before_there_were_any():
    seen = hashlib.sha256()
    several: list[tuple[int, int, dict[str, Any]]] = [
        (7, 3, {"whales": 1, "whale_trades": 2500}),
        (11, 30, {"most_trades": 40}),
        (1, 50, {"most_trades": 300}),
    ]
    for seed, wallets, sizes in several:
        world = generate(seed, wallets, **sizes)
        for wallet in world.wallets():
            seen.update(wallet.encode())
            for t in world.trades(wallet):
                row = [v2_row(t), dome_row(t), t.maker, t.dust, t.sequence]
                seen.update(msgspec.json.encode(row))
    assert seen.hexdigest() == AS_EVER


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    wallets=st.integers(1, 3),
    most=st.integers(1, 150),
    markets=st.integers(1, 50),
)
def test_rows_as_served_come_to_what_the_generator_says_the_wallet_has(
    seed: int, wallets: int, most: int, markets: int
):
    world = generate(
        seed, wallets, whales=1, whale_trades=most, most_trades=most, markets=markets, ledgers=True
    )
    for wallet in world.wallets():
        sums = Sums(world.markets).add(rows(world, wallet))
        truth = world.standing(wallet)
        assert truth
        assert (sums.cash, sums.held()) == (truth.cash, truth.shares)
        assert [e.sequence for e in world.entries(wallet)] == [*range(len(world.entries(wallet)))]
        served = Counter(msgspec.json.encode(v2_row(trade)) for trade in world.truth(wallet))
        ledger = [
            {name: row[name] for name in SHARED}
            for row in rows(world, wallet)
            if row["type"] == "TRADE" and not row.get("is_combo") and row["size"] >= 0.01
        ]
        trades = [msgspec.json.decode(row) for row in served.elements()]
        assert Counter(map(str, ledger)) == Counter(
            str({name: trade[name] for name in SHARED}) for trade in trades
        )


def test_a_large_world_has_every_type_and_every_oddity_that_real_ledgers_have():
    world = generate(5, 30, whales=1, whale_trades=3000, ledgers=True)
    again = generate(5, 30, whales=1, whale_trades=3000, ledgers=True)
    every = entries(world)
    assert every == entries(again)
    assert {entry.type for entry in every} == set(TYPES)
    assert {entry.side for entry in every if entry.type == "TIP"} == {"IN", "OUT"}
    redeemed = [entry for entry in every if entry.type == "REDEEM"]
    assert {bool(entry.usdc) for entry in redeemed} == {True, False}
    assert {entry.is_combo for entry in redeemed} == {True, False}
    served = Counter(msgspec.json.encode(activity_row(e, Labels(), LAST)) for e in redeemed)
    assert max(served.values()) > 1, "twins, alike in every byte"
    assert any(e.usdc for e in every if e.type == "CONVERSION")
    assert any(not e.usdc for e in every if e.type == "CONVERSION")
    fills = [entry for entry in every if entry.type == "TRADE"]
    assert any(entry.is_combo for entry in fills)
    assert any(entry.size < 10_000 for entry in fills)
    assert any(entry.outcome_index == 999 and entry.outcome for entry in fills)
    by_second = Counter(entry.timestamp for entry in world.entries(world.wallets()[0]))
    assert max(by_second.values()) >= 48
    markets = world.markets.values()
    assert any(market.payouts == (500_000, 500_000) for market in markets)
    assert {market.resolved_at is None for market in markets} == {True, False}
    for wallet in world.wallets():
        truth = world.standing(wallet)
        assert truth
        sums = Sums(world.markets).add(rows(world, wallet))
        assert (sums.cash, sums.held()) == (truth.cash, truth.shares)


def test_the_cash_of_a_fill_holds_the_fee_of_its_market_to_five_decimals():
    world = generate(5, 3, whales=1, whale_trades=800, ledgers=True)
    seen = Counter[bool]()
    for entry in entries(world):
        if entry.type != "TRADE" or entry.is_combo:
            continue
        row = activity_row(entry, Labels(), LAST)
        fee = abs(row["usdc_size"] - row["size"] * row["price"])
        rate = 0 if entry.maker else world.markets[entry.condition_id].fee / 10_000
        exact = row["size"] * rate * row["price"] * (1 - row["price"])
        assert abs(round(fee, 5) - exact) < 0.0000051
        seen[exact > 0.00001] += 1
    assert seen[True] > 100
    assert seen[False] > 100


def test_books_refuse_what_a_wallet_does_not_have():
    market = next(iter(generate(5, 1, ledgers=True).markets.values()))
    book = Book("0x" + "1" * 40)
    when = (LAST, "0x" + "2" * 64)
    order: dict[str, Any] = {"buy": True, "size": 10_000_000, "price": 500, "maker": True}
    with pytest.raises(ValueError, match="less than no cash"):
        book.trade(when, market, 0, **order)
    book.flow(when, "DEPOSIT", 5_000_000)
    book.trade(when, market, 0, **order)
    with pytest.raises(ValueError, match="less than nothing"):
        book.trade(when, market, 0, **{**order, "buy": False, "size": 10_000_001})
    with pytest.raises(ValueError, match="less than nothing"):
        book.merge(when, market, 1)
    assert (book.standing.cash, book.standing.shares) == (0, {market.tokens[0]: 10_000_000})
    assert [entry.type for entry in book.entries] == ["DEPOSIT", "TRADE"], "no row of what failed"
