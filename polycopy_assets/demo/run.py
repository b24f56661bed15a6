"""What `polycopy demo` runs on: a small world, served, and settings that point to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served, serve
from polycopy_assets.demo.state import State
from polycopy_assets.demo.world import load_directory
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings import Settings

SEED = 7
WALLETS = 24
WHALES = 1
WHALE_TRADES = 20_000
RATE_LIMIT = "1000/1"


class Demo(msgspec.Struct, frozen=True):
    """A demo that can be run: settings, wallets, and the API behind them."""

    settings: Settings
    served: Served
    title: str

    @property
    def wallets(self) -> list[str]:
        """The wallets that are wanted."""
        return self.served.state.world.wallets()

    @property
    def trades(self) -> int:
        """The trades that the table must hold for them."""
        return self.served.state.world.count()

    @property
    def trade_requests(self) -> int:
        """How often the API was asked for trades."""
        return self.served.state.counts.trade_requests


@contextmanager
def run_demo(chosen: Settings, data: Path | None) -> Iterator[Demo]:
    """Serves the demo's world; its settings are `chosen`, but with the sample API as the source.

    Raises ConfigurationError if `data` holds no trades.
    """
    try:
        world = (
            load_directory(data)
            if data
            else generate(SEED, WALLETS, whales=WHALES, whale_trades=WHALE_TRADES)
        )
    except (ValueError, KeyError) as error:
        raise ConfigurationError(f"--data {data}: {error}") from error
    with serve(State(world, Faults())) as served:
        settings = msgspec.structs.replace(
            chosen, source="polymarket", source_url=served.url, proxy="", rate_limit=RATE_LIMIT
        )
        yield Demo(settings, served, f"{world.count():,} trades of {len(world.wallets())} wallets")
