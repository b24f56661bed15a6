"""A wallet's failed attempts, as observations in Dagster's event log.

A failed attempt is an observation of the wallet's partition: the reason, which attempt it was, and
when the next is due. A later materialization supersedes it. So the policy decides from the record
what to fetch, and people find the reason on the partition's page.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import dagster as dg
import msgspec
from dagster import AssetRecordsFilter, DagsterEventType

from polycopy_assets.errors import Kind
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.ledger.failure import beside
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.partitions import registered, wallets_partitions
from polycopy_assets.record.private.failed_partitions import failed_partitions
from polycopy_assets.system import clock

RETRY_AFTER = (300.0, 1_800.0, 7_200.0, 28_800.0, 86_400.0, 259_200.0)
"""Seconds from each failed attempt to the next; after the last the wallet stays failed."""

_PAGE = 500
_EXHAUSTED = "none: repair the cause, then materialize the wallet"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet's latest attempt, which failed: consecutive failures so far, when, and why."""

    wallet: str
    number: int
    at: float
    kind: Kind
    reason: str

    @property
    def due(self) -> float | None:
        """When the next attempt is due, epoch seconds; None if there is no automatic one."""
        waits = self.number <= len(RETRY_AFTER)
        return self.at + RETRY_AFTER[self.number - 1] if waits else None


def observation(feed: Feed, failed: Failed, before: Attempt | None) -> dg.AssetObservation:
    """The event that notes a failed attempt; `before` is the failed one before it, if any."""
    return event(
        feed,
        Attempt(
            wallet=failed.wallet,
            number=before.number + 1 if before else 1,
            at=clock.now(),
            kind=failed.kind,
            reason=failed.reason,
        ),
    )


def event(feed: Feed, attempt: Attempt) -> dg.AssetObservation:
    """The event that notes `attempt`."""
    return dg.AssetObservation(
        asset_key=asset_keys(feed).wallets,
        partition=attempt.wallet,
        description=beside(attempt.wallet, attempt.reason),
        metadata={
            "failed_at": dg.MetadataValue.timestamp(_utc(attempt.at)),
            "next_attempt": (
                dg.MetadataValue.timestamp(_utc(attempt.due))
                if attempt.due
                else dg.MetadataValue.text(_EXHAUSTED)
            ),
            "failed_attempt": dg.MetadataValue.int(attempt.number),
            "kind": dg.MetadataValue.text(attempt.kind.value),
            "reason": dg.MetadataValue.text(attempt.reason),
        },
    )


def latest(record: FeedRecord, wallets: Collection[str]) -> Mapping[str, Attempt]:
    """The latest attempt of each of `wallets` whose latest attempt failed."""
    storage, asset = record.instance.event_log_storage, record.keys.wallets
    observed = storage.get_latest_storage_id_by_partition(asset, DagsterEventType.ASSET_OBSERVATION)
    if not observed or not wallets:
        return {}
    recorded = record.latest_ids()
    ids = sorted(
        observed[wallet] for wallet in wallets if observed.get(wallet, -1) > recorded.get(wallet, 0)
    )
    found = {}
    for start in range(0, len(ids), _PAGE):
        for item in record.instance.fetch_observations(
            AssetRecordsFilter(asset_key=asset, storage_ids=ids[start : start + _PAGE]),
            limit=_PAGE,
        ).records:
            event = item.asset_observation
            if event is not None and (attempt := _read(event)):
                found[attempt.wallet] = attempt
    return found


def failed(record: FeedRecord) -> list[str]:
    """The wallets whose latest attempt failed, complete or not.

    Dagster marks a wallet as failed when its run has ended; until then, and if the run is
    terminated, only the noted attempt shows it.
    """
    instance = record.instance
    wallets = registered(instance)
    noted = latest(record, wallets)
    ended = failed_partitions(instance, record.keys.wallets, wallets_partitions, wallets)
    return [wallet for wallet in wallets if wallet in noted or wallet in ended]


def due_of(remaining: Collection[str], tried: Mapping[str, Attempt]) -> list[str]:
    """First the wallets in `remaining` that were never tried, then those in `tried` that are due.

    A complete wallet whose refresh failed is in `tried` only.
    """
    fresh = [wallet for wallet in remaining if wallet not in tried]
    again = sorted((each.due, wallet) for wallet, each in tried.items() if each.due is not None)
    return fresh + [wallet for moment, wallet in again if moment <= clock.now()]


def _read(event: dg.AssetObservation) -> Attempt | None:
    """The attempt; None if the observation is not one of ours."""
    number = event.metadata.get("failed_attempt")
    at = event.metadata.get("failed_at")
    if not isinstance(number, dg.IntMetadataValue) or not isinstance(at, dg.TimestampMetadataValue):
        return None
    return Attempt(
        wallet=event.partition or "",
        number=number.value or 0,
        at=at.value,
        kind=Kind.of(str(event.metadata["kind"].value)),
        reason=str(event.metadata["reason"].value),
    )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
