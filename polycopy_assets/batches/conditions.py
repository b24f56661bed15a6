"""Which conditions the batches have trades of, read from one column of their parts."""

from collections.abc import Collection, Iterator

import polars as pl

from polycopy_assets.batches.manifest_files import checked_file
from polycopy_assets.batches.manifests import read_manifests
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.trades.batch import Part


def conditions_in(store: FeedStore, batches: Collection[int]) -> Iterator[tuple[int, set[str]]]:
    """(batch, the different values of `condition_id`) for each of `batches`, in their order.

    `store` is that of a feed whose table has this column. Nulls are left out. Raises StoreError;
    ObjectLost for a part that is gone or damaged. A part is read at a time, and of manifests none
    before those of `batches`.
    """
    if not batches:
        return
    for manifest in read_manifests(store, batches, after=min(batches) - 1):
        found: set[str] = set()
        # A batch of an older version was combined again, and is read as that.
        for part in manifest.parts if manifest.schema == store.feed.schema else ():
            found.update(_conditions(store, part))
        yield manifest.batch, found


def _conditions(store: FeedStore, part: Part) -> pl.Series:
    # Polars may read a damaged file as other texts, or panic, which is no exception of its own.
    with checked_file(store, part) as path:
        column = pl.scan_parquet(path).select(pl.col("condition_id").drop_nulls().unique())
        return column.collect()["condition_id"]
