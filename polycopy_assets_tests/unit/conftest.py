"""The table of the demo, loaded once for all tests that ask it something."""

from typing import NamedTuple
from unittest.mock import patch

import pytest

from polycopy_assets.cli.demo_world import SEED, WALLETS, WHALE_TRADES, WHALES
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import Trade, World
from polycopy_assets_tests import bench
from polycopy_assets_tests.deployment import Deployment


class DemoTable(NamedTuple):
    """A deployment with the trades of `polycopy demo` in its table, and those trades."""

    deployment: Deployment
    world: World

    @property
    def trades(self) -> list[Trade]:
        """All of them, by wallet."""
        return [t for wallet in self.world.wallets() for t in self.world.truth(wallet)]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoTable:
    """The demo's table; tests may read it alone."""
    deployment = Deployment(tmp_path_factory.mktemp("demo"), "http://127.0.0.1:9")
    world = generate(SEED, WALLETS, whales=WHALES, whale_trades=WHALE_TRADES)
    with patch.object(bench, "WORLD", world):
        path = deployment.warehouse.path
        loading = bench.Bench(deployment.store, deployment.warehouse, bench.duckdb_sql(path))
        loading.batch(*(wallet.lower() for wallet in world.wallets()))
        loading.load()
    return DemoTable(deployment, world)
