"""The feed `trades`, as most tests use it: its names, stores as it sees them, what is given it."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from polycopy_assets.batches import load, plan
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.feeds.trades.frame import FRAME
from polycopy_assets.fetch import compaction
from polycopy_assets.reconcile import listing
from polycopy_assets.record import commit
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.sources import dome, polymarket, status
from polycopy_assets.sources import open as sources
from polycopy_assets.store.base import Store
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades import batch, payload
from polycopy_assets.trades import horizon as horizons
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.interval import Interval

NAMES = TRADES.names
SCHEMA = TRADES.schema

PREFIX, COVERAGE = NAMES.segments, NAMES.coverage
MANIFESTS, SUMMARIES = NAMES.manifests, NAMES.summaries
wallet_prefix, segment_name, parse_name = NAMES.wallet, NAMES.segment, NAMES.parse_segment
marker_name, manifest_name = NAMES.marker, NAMES.manifest
coverage_name, parse_coverage_name = NAMES.coverage_object, NAMES.parse_coverage

new_claims, next_batch = partial(plan.new_claims, NAMES), partial(plan.next_batch, NAMES)
left_over = partial(compaction.left_over, NAMES)
replaced_segments = partial(listing.replaced_segments, NAMES)
unloaded, current = partial(load.unloaded, schema=SCHEMA), partial(batch.current, schema=SCHEMA)
decode = partial(commit.decode, folder=PREFIX)
open_source = partial(sources.open_source, feed=TRADES)
Polymarket, Dome = partial(polymarket.Polymarket, feed=TRADES), partial(dome.Dome, feed=TRADES)
freshness = partial(status.freshness, feed=TRADES.label, mechanisms=("activity_feed",))
horizon = partial(horizons.horizon, feed=TRADES.label)

served_frame, part_rows = FRAME.served_frame, FRAME.part_rows


def columns_of(source: str, rows: Sequence[Any]) -> pl.DataFrame:
    """Rows that `source` served, as columns."""
    return FRAME.columns_of(TRADES.shapes, source, rows)


def read_payload(
    data: bytes, wallet: str, span: Interval, source: str | None = None
) -> payload.Rows:
    """The rows of a segment."""
    return payload.read_payload(data, wallet, span, TRADES.shapes, source)


def holdings(manifests: Iterable[Manifest] = ()) -> Holdings:
    """What `manifests`, in their order, hold together."""
    return Holdings.of(manifests, SCHEMA)


KEYS = asset_keys(TRADES)
"""The keys of the feed's assets."""


def record_in(instance: dg.DagsterInstance) -> FeedRecord:
    """What `instance` has recorded of the feed."""
    return FeedRecord(instance, TRADES)


def of_trades(store: Store) -> FeedStore:
    """`store` as the feed sees it."""
    return store if isinstance(store, FeedStore) else FeedStore(store, TRADES)


class Directory(FeedStore):
    """The store in the directory `root`, as the feed sees it."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(LocalStore(root, **options), TRADES)
        self.root = root.absolute()
