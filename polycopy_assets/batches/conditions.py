"""Which conditions the batches have trades of, read from one column of their parts."""

from collections.abc import Container, Iterator

import polars as pl

from polycopy_assets.batches.manifests import read_manifests
from polycopy_assets.store.base import Store
from polycopy_assets.trades.batch import SCHEMA


def conditions_in(store: Store, batches: Container[int]) -> Iterator[tuple[int, set[str]]]:
    """(batch, the different values of `condition_id`) for each of `batches`, in their order.

    Nulls are left out. Raises StoreError. A part is read at a time.
    """
    for manifest in read_manifests(store, batches):
        if manifest.schema != SCHEMA:
            continue
        found: set[str] = set()
        for part in manifest.parts:
            with store.local(part.name) as path:
                column = pl.scan_parquet(path).select(pl.col("condition_id").drop_nulls().unique())
                found.update(column.collect()["condition_id"])
        yield manifest.batch, found
