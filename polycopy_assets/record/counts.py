"""The source's counts of a feed's rows, as events of an asset with a partition per wallet.

A separate asset, because the latest observation of a partition that is fetched is the wallet's
latest failed attempt (`attempts.py`), which a count must not hide. A count is a materialization,
stored in its data version, so one query reads the counts of all wallets. A failed request is an
observation; the order of both shows which wallets were requested least recently.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import dagster as dg
from dagster import AssetRecordsFilter, DagsterEventType

from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.ledger.source_counts import Count, count_version, read_version
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import DATA_VERSION_TAG

_PAGE = 500
_COUNTED = DagsterEventType.ASSET_MATERIALIZATION
_FAILED = DagsterEventType.ASSET_OBSERVATION


def materialization(feed: Feed, count: Count) -> dg.AssetMaterialization:
    """The event that notes what the source counted."""
    metadata: dict[str, dg.MetadataValue] = {
        "source_counts": dg.MetadataValue.int(count.source),
        "table": dg.MetadataValue.int(count.ours),
        "difference": dg.MetadataValue.int(count.difference),
        "before": dg.MetadataValue.timestamp(_utc(count.until)),
        "asked": dg.MetadataValue.timestamp(_utc(count.asked)),
        "data_version": dg.MetadataValue.text(count.version),
    }
    if count.refetched:
        metadata["refetched"] = dg.MetadataValue.timestamp(_utc(count.refetched))
        metadata["difference_after_refetch"] = dg.MetadataValue.int(count.left)
    return dg.AssetMaterialization(
        asset_key=asset_keys(feed).counts,
        partition=count.wallet,
        metadata=metadata,
        tags={DATA_VERSION_TAG: count_version(count)},
    )


def failure(feed: Feed, failed: Failed) -> dg.AssetObservation:
    """The event that notes that a wallet could not be compared."""
    return dg.AssetObservation(
        asset_key=asset_keys(feed).counts,
        partition=failed.wallet,
        description=failed.reason,
        metadata={
            "reason": dg.MetadataValue.text(failed.reason),
            "kind": dg.MetadataValue.text(str(failed.kind)),
        },
    )


def latest(record: FeedRecord, wallets: Collection[str] | None = None) -> dict[str, Count]:
    """The latest count of every wallet, or of each of `wallets`, that has one; one query."""
    tags = record.instance.event_log_storage.get_latest_tags_by_partition(
        record.keys.counts,
        _COUNTED,
        tag_keys=[DATA_VERSION_TAG],
        asset_partitions=None if wallets is None else list(wallets),
    )
    found = {
        wallet: read_version(wallet, tag.get(DATA_VERSION_TAG, "")) for wallet, tag in tags.items()
    }
    return {wallet: count for wallet, count in found.items() if count is not None}


def longest_ago_first(record: FeedRecord, wallets: Collection[str]) -> list[str]:
    """`wallets`, least recently requested first, starting with those never requested."""
    counted, failed = _latest_ids(record, _COUNTED), _latest_ids(record, _FAILED)
    return sorted(wallets, key=lambda wallet: max(counted.get(wallet, 0), failed.get(wallet, 0)))


def failed(record: FeedRecord) -> set[str]:
    """The wallets whose latest request failed."""
    return set(_failed_ids(record))


def failures(record: FeedRecord) -> Mapping[str, str]:
    """The wallets whose latest request failed, and why."""
    ids = sorted(_failed_ids(record).values())
    found = {}
    for start in range(0, len(ids), _PAGE):
        page = ids[start : start + _PAGE]
        for item in record.instance.fetch_observations(
            AssetRecordsFilter(asset_key=record.keys.counts, storage_ids=page), limit=_PAGE
        ).records:
            event = item.asset_observation
            if event is not None and event.partition is not None:
                found[event.partition] = event.description or "no reason was recorded"
    return found


def _failed_ids(record: FeedRecord) -> dict[str, int]:
    counted = _latest_ids(record, _COUNTED)
    failed = _latest_ids(record, _FAILED)
    return {wallet: number for wallet, number in failed.items() if number > counted.get(wallet, 0)}


def _latest_ids(record: FeedRecord, kind: DagsterEventType) -> Mapping[str, int]:
    """The number of each wallet's latest event of that kind; later events have higher ones."""
    return record.instance.event_log_storage.get_latest_storage_id_by_partition(
        record.keys.counts, kind
    )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
