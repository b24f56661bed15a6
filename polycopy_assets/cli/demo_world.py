"""What `polycopy demo` runs on: a small world, the API that serves it, and settings to use it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import msgspec

from polycopy_assets.demo.entry import TIP
from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.recorded import load_directory
from polycopy_assets.demo.server import Served, serve
from polycopy_assets.demo.state import State
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import FEEDS, named
from polycopy_assets.feeds.tips.feed import TIPS
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.partitions import registered
from polycopy_assets.resources.chosen import open_store, open_warehouse
from polycopy_assets.settings import Settings
from polycopy_assets.settings.parse import parse_bucket, parse_dataset
from polycopy_assets.store.wanted import read_wanted
from polycopy_assets.text import counted, quoted

SEED = 7
WALLETS = 24
WHALES = 1
WHALE_TRADES = 20_000
RATE_LIMIT = "1000/1"
_DO = (
    "run it in an empty directory, with DAGSTER_HOME, POLYCOPY_INSTANCE, POLYCOPY_STORE and"
    " POLYCOPY_WAREHOUSE unset"
)


class Demo(msgspec.Struct, frozen=True):
    """A demo that can be run: settings, wallets, and the API behind them."""

    settings: Settings
    served: Served
    title: str

    @property
    def wallets(self) -> list[str]:
        """The wallets that are wanted, as they are stored."""
        return [wallet.lower() for wallet in self.served.state.world.wallets()]

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """The feeds that are collected."""
        return named(self.settings.feeds)

    def rows(self, feed: Feed) -> int:
        """The rows that the table of `feed` must hold for them."""
        world = self.served.state.world
        if feed is TRADES:
            return world.count()
        types = Counter(each.type for wallet in world.wallets() for each in world.entries(wallet))
        if feed is TIPS:
            return types[TIP]
        left_out = {TIP, *self.settings.activity_without}
        return sum(number for kind, number in types.items() if kind not in left_out)

    def requests(self, feed: Feed) -> int:
        """How often the API was asked for rows of `feed`."""
        return self.served.state.counts_of(feed.name).trade_requests


@contextmanager
def run_demo(chosen: Settings, data: Path | None) -> Iterator[Demo]:
    """Serves the demo's world; its settings are `chosen`, but with the sample API as the source.

    If more than trades is collected, its wallets have whole ledgers. Raises ConfigurationError if
    `data` holds no trades, or if store or table are in the cloud.
    """
    if parse_bucket(chosen.store) or parse_dataset(chosen.warehouse):
        place = chosen.warehouse if parse_dataset(chosen.warehouse) else chosen.store
        raise ConfigurationError(f"the demo does not load its invented trades into {place}: {_DO}")
    try:
        world = (
            load_directory(data)
            if data
            else generate(
                SEED,
                WALLETS,
                whales=WHALES,
                whale_trades=WHALE_TRADES,
                ledgers=len(chosen.feeds) > 1,
            )
        )
    except (ValueError, KeyError) as error:
        raise ConfigurationError(f"--data {data}: {error}") from error
    with serve(State(world, Faults())) as served:
        settings = msgspec.structs.replace(
            chosen,
            source="polymarket",
            source_url=served.url,
            markets_url=served.url,
            proxy="",
            rate_limit=RATE_LIMIT,
        )
        yield Demo(
            settings,
            served,
            f"{counted(world.count(), 'trade')} of {counted(len(world.wallets()), 'wallet')}",
        )


def refuse_others(instance: dg.DagsterInstance, demo: Demo) -> None:
    """Raises ConfigurationError if there is any data here of a wallet that is not the demo's own.

    The demo's trades are invented: they do not belong in a table that is really used.
    """
    own = set(demo.wallets)
    for wallet, where in _kept(instance, demo.settings):
        if wallet.lower() not in own:
            raise ConfigurationError(
                f"the demo would load invented trades beside those of {quoted(wallet)}, which is"
                f" {where}: {_DO}; with other POLYCOPY_FEEDS the demo has other wallets"
            )


def _kept(instance: dg.DagsterInstance, settings: Settings) -> Iterator[tuple[str, str]]:
    """(wallet, where) for every wallet that is known here; the cheapest lookups come first."""
    for wallet in registered(instance):
        yield wallet, "registered"
    for feed in FEEDS.values():
        for wallet in FeedRecord(instance, feed).versions():
            yield wallet, "recorded"
    warehouse = open_warehouse(settings, "traders")
    for text in warehouse.traders():
        yield text or "", "in the table traders"
    for feed in FEEDS.values():
        for text in warehouse.table(feed).rows_by_wallet():
            yield text or "", f"in the table {feed.table}"
    store = open_store(settings, instance, keep=False)
    for wallet in read_wanted(store).entries:
        yield wallet, "in the store's list of wanted wallets"
    for feed in FEEDS.values():
        segments = feed.names.segments
        for item in store.list(segments):
            yield (
                item.name.removeprefix(segments).partition("/")[0].removesuffix(".jsonl"),
                "in the store",
            )
