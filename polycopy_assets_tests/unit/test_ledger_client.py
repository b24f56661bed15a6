"""Polymarket's own client takes the sample API's ledgers and markets for the real ones."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import polymarket
import pytest
from polymarket.environments import PRODUCTION, _create_environment
from polymarket.models.data import ActivityType, UnknownActivity

from polycopy_assets.demo.entry import Labels, activity_row
from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served, serve
from polycopy_assets.demo.state import State
from polycopy_assets_tests.ledgers import Sums

WORLD = generate(13, 3, whales=1, whale_trades=1500, ledgers=True)
WHALE = WORLD.wallets()[0]
MARKETS = list(WORLD.markets.values())
CLOSED = [market for market in MARKETS if market.resolved_at]
TYPES = [ActivityType(kind) for kind in {entry.type for entry in WORLD.entries(WHALE)}]


def truth() -> list[dict[str, Any]]:
    return [activity_row(entry, Labels(), LAST) for entry in WORLD.entries(WHALE)]


@pytest.fixture(scope="module")
def api() -> Iterator[Served]:
    with serve(State(WORLD, Faults())) as api:
        yield api


def test_polymarkets_own_client_walks_activity_positions_markets_and_leaderboard(
    api: Served,
):
    # The client takes no other base URL in public; its settings are the same but for that.
    config = replace(PRODUCTION._config, data_url=api.url, gamma_url=api.url)
    environment = _create_environment(name="sample", config=config)
    with polymarket.PublicClient(environment=environment) as client:
        walked = client.list_activity(
            user=WHALE,
            full_history=True,
            page_size=1000,
            sort_direction="ASC",
            activity_types=TYPES,
        )
        rows = [row for page in walked for row in page.items]
        assert [row.type for row in rows] == [row["type"] for row in truth()]
        assert [getattr(row, "is_combo", False) for row in rows] == [
            "is_combo" in row for row in truth()
        ]
        amounts = [
            int(row.amount * 1_000_000) for row in rows if not isinstance(row, UnknownActivity)
        ]
        assert amounts == [entry.usdc for entry in WORLD.entries(WHALE)]

        def book(**params: Any) -> dict[str, Decimal]:
            pages = client.list_positions(user=WHALE, page_size=50, **params)
            listed = [row for page in pages for row in page.items]
            assert len({row.asset_id for row in listed}) == len(listed)
            return {row.asset_id: row.current_size for row in listed}

        sums = Sums(WORLD.markets).add(truth()).held()
        tokens = {token for market in MARKETS for token in market.tokens}
        held = {token: shares for token, shares in sums.items() if token in tokens}
        full = book(filter_amount=0)
        assert {token: int(shares * 1_000_000) for token, shares in full.items()} == held
        assert set(book()) == {token for token, shares in held.items() if shares >= 100_000}
        closed = book(status="CLOSED")
        assert set(closed.values()) == {Decimal(0)}
        traded = {row["token_id"] for row in truth() if row["type"] == "TRADE"} & tokens
        assert traded <= set(closed) | set(full)
        lost = book(status="REDEEMABLE_LOST")
        assert lost.items() <= book(status="REDEEMABLE", filter_amount=0).items()
        assert lost

        conditions = [market.condition_id for market in MARKETS]
        listed = [
            market
            for is_closed in (True, False)
            for page in client.list_markets(
                condition_ids=conditions, closed=is_closed, include_tag=True, page_size=25
            )
            for market in page.items
        ]
        assert {market.condition_id for market in listed} == set(conditions)
        assert all(market.outcomes.yes.token_id in tokens for market in listed)
        fees = {
            market.trading.fee_schedule.rate for market in listed if market.trading.fee_schedule
        }
        assert Decimal("0.05") in fees
        assert len(client.get_token_references(condition_ids=conditions[:10])) == 20
        resolved = client.get_resolutions(condition_ids=[CLOSED[0].condition_id])
        assert CLOSED[0].payouts
        assert resolved[0].payouts == tuple(Decimal(p) / 1_000_000 for p in CLOSED[0].payouts)
        board = client.list_trader_leaderboard(window="all", page_size=2)
        wallets = [entry.wallet for page in board for entry in page.items]
        assert {wallet.lower() for wallet in wallets} == {w.lower() for w in WORLD.wallets()}
