"""Combining: the segments that no batch holds yet become one batch of typed, sorted Parquet."""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from polycopy_assets.batches.parts import OWN, check_claim, write_part, write_parts
from polycopy_assets.errors import ObjectExists, PolycopyError, StoreError, Unexpected
from polycopy_assets.settings.memory import DEFAULT_MEMORY
from polycopy_assets.store.base import Store
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.reading import Readings
from polycopy_assets.system.step import Step
from polycopy_assets.trades.batch import Claim, Manifest, claimed_intervals, in_batches
from polycopy_assets.trades.batch_rules import problem

BATCH_ROWS = 5_000_000
"""Trades in a batch: about 3 GB in BigQuery, so that loading one stays below the default cap."""

BATCH_CLAIMS = 50_000
"""Segments in a batch: its manifest stays below 20 MB."""


class CombinedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a combine: the batch it committed, if any, and the wallets it left out.

    `lost` maps a wallet to the error about its recorded object: gone, different from its record, or
    unreadable.
    """

    manifest: Manifest | None
    lost: Mapping[str, PolycopyError]


def combine_all(
    store: FeedStore,
    claims: Sequence[Claim],
    first: int,
    *,
    rows: int = BATCH_ROWS,
    memory: int = DEFAULT_MEMORY,
    step: Step | None = None,
) -> Iterator[CombinedBatch]:
    """Commits `claims` as batches from number `first` on, and yields each when it is committed.

    `memory`: MB that this process may use. `step` shows which batch is made.

    Raises ObjectExists if another combine has taken a number: the caller must plan again.
    """
    number = first
    lost: set[str] = set()
    batches = list(in_batches(claims, rows, BATCH_CLAIMS))
    for place, batch in enumerate(batches, 1):
        if step is not None:
            of = f" {place:,} of {len(batches):,}" if len(batches) > 1 else ""
            what = "" if store.feed.bare else f" {store.feed.rows}"
            step.part(f"combining{what}{of}", place, len(batches))
        kept = [item for item in batch if item.wallet not in lost]
        combined = combine(store, kept, number, memory=memory)
        lost |= combined.lost.keys()
        number += combined.manifest is not None
        yield combined


def combine(
    store: FeedStore, claims: Sequence[Claim], batch: int, *, memory: int = DEFAULT_MEMORY
) -> CombinedBatch:
    """Commits `claims` as batch number `batch`; `memory`: MB that this process may use.

    Raises ObjectExists if another combine has taken that number: the caller must plan again.
    """
    try:
        return _commit(store, claims, batch, {}, memory)
    except Exception as error:
        if isinstance(error, PolycopyError) and not isinstance(error, OWN):
            raise
        # Rare: find every wallet whose segments cannot be combined, and continue without them.
        lost = dict(_lost(store, claims))
        if not lost:
            raise
    kept = [item for item in claims if item.wallet not in lost]
    return _commit(store, kept, batch, lost, memory)


def _commit(
    store: FeedStore,
    claims: Sequence[Claim],
    batch: int,
    lost: Mapping[str, PolycopyError],
    memory: int,
) -> CombinedBatch:
    if not claims:
        return CombinedBatch(manifest=None, lost=lost)
    feed, folder = store.feed, store.names.batch(batch)
    attempt = f"{folder}{uuid.uuid4().hex[:12]}"
    parts = write_parts(store, claims, attempt, memory)
    intervals = feed.frame().claim_rows(claimed_intervals(claims))
    claims_part = write_part(store, intervals, f"{attempt}/claims.parquet")
    manifest = Manifest(
        batch=batch,
        rows=sum(part.rows for part in parts),
        parts=parts,
        claims=list(claims),
        claims_part=claims_part,
        schema=feed.schema,
    )
    if wrong := problem(manifest, batch, feed.names, feed.schema):
        # Otherwise every reader would set it aside, and its segments would be combined again for
        # ever.
        _clear(store, f"{attempt}/", keep=())
        raise StoreError(f"batch {batch} was not committed, because it would be broken: {wrong}")
    try:
        store.create(feed.names.manifest(batch), manifest.encode(), {"rows": str(manifest.rows)})
    except ObjectExists:
        _clear(store, f"{attempt}/", keep=())
        raise
    # Other objects under this number belong to attempts that can no longer be committed.
    _clear(store, folder, keep={part.name for part in (*parts, claims_part)})
    return CombinedBatch(manifest=manifest, lost=lost)


def _lost(store: FeedStore, claims: Iterable[Claim]) -> Iterator[tuple[str, PolycopyError]]:
    """(wallet, error) of each claim that cannot be combined even on its own."""
    readings = Readings(store)
    for item in claims:
        try:
            check_claim(readings, item, store.feed)
        except OWN as error:
            yield item.wallet, error
        except PolycopyError:
            raise  # the store cannot be read: not the wallet's fault
        except Exception as error:  # noqa: BLE001 - any error here is this wallet's failure
            yield item.wallet, Unexpected(error)


def _clear(store: Store, prefix: str, *, keep: Collection[str]) -> None:
    for item in list(store.list(prefix)):
        if item.name not in keep:
            store.delete(item.name)
