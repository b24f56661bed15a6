"""The keys of a feed's assets: where Dagster keeps what is recorded of the feed."""

from typing import NamedTuple

import dagster as dg

from polycopy_assets.feeds.base import Feed


class AssetKeys(NamedTuple):
    """The partitioned asset, its batches, its table, and the source's counts."""

    wallets: dg.AssetKey
    combined: dg.AssetKey
    table: dg.AssetKey
    counts: dg.AssetKey


def asset_keys(feed: Feed) -> AssetKeys:
    """The keys of the assets of `feed`."""
    names = feed.assets
    return AssetKeys(
        dg.AssetKey(names.wallets),
        dg.AssetKey(names.combined),
        dg.AssetKey(names.table),
        dg.AssetKey(names.counts),
    )
