"""A wallet's failed attempts, as observations in Dagster's event log.

An attempt that failed is an observation of the wallet's partition: the reason, which attempt it
was, and when the next is due. A later materialization makes it history. So whoever decides what
to fetch reads it from the record, and a person finds the reason on the partition's page.
"""

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import dagster as dg
import msgspec
from dagster import AssetRecordsFilter, DagsterEventType
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from polycopy_assets.fetch.wallets import Failed
from polycopy_assets.partitions import registered, wallets_partitions
from polycopy_assets.record import WALLET_TRADES

RETRY_AFTER = (300.0, 1_800.0, 7_200.0, 28_800.0, 86_400.0, 259_200.0)
"""Seconds from a failed attempt to the next that nobody asks for; after as many it stays failed."""

_PAGE = 500
_GIVEN_UP = "none of itself: mend the cause, then materialize the wallet"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet's latest attempt, which failed: the how-manieth in a row, when, and why."""

    wallet: str
    number: int
    at: float
    kind: str
    reason: str

    @property
    def due(self) -> float | None:
        """When the next one is due, epoch seconds; None if there is none of itself."""
        waits = self.number <= len(RETRY_AFTER)
        return self.at + RETRY_AFTER[self.number - 1] if waits else None


def now() -> float:
    """The time, epoch seconds."""
    return time.time()


def observation(failed: Failed, before: Attempt | None) -> dg.AssetObservation:
    """The event that notes a failed attempt, behind the one `before` it."""
    attempt = Attempt(
        wallet=failed.wallet,
        number=before.number + 1 if before else 1,
        at=now(),
        kind=failed.kind,
        reason=failed.reason,
    )
    return dg.AssetObservation(
        asset_key=WALLET_TRADES,
        partition=failed.wallet,
        description=failed.reason,
        metadata={
            "reason": dg.MetadataValue.text(attempt.reason),
            "kind": dg.MetadataValue.text(attempt.kind),
            "failed_attempt": dg.MetadataValue.int(attempt.number),
            "failed_at": dg.MetadataValue.timestamp(_utc(attempt.at)),
            "next_attempt": (
                dg.MetadataValue.timestamp(_utc(attempt.due))
                if attempt.due
                else dg.MetadataValue.text(_GIVEN_UP)
            ),
        },
    )


def latest(instance: dg.DagsterInstance, wallets: Collection[str]) -> Mapping[str, Attempt]:
    """The latest attempt of each of `wallets` whose latest attempt failed."""
    storage = instance.event_log_storage
    observed = storage.get_latest_storage_id_by_partition(
        WALLET_TRADES, DagsterEventType.ASSET_OBSERVATION
    )
    if not observed or not wallets:
        return {}
    recorded = storage.get_latest_storage_id_by_partition(
        WALLET_TRADES, DagsterEventType.ASSET_MATERIALIZATION
    )
    ids = sorted(
        observed[wallet] for wallet in wallets if observed.get(wallet, -1) > recorded.get(wallet, 0)
    )
    found = {}
    for start in range(0, len(ids), _PAGE):
        for item in instance.fetch_observations(
            AssetRecordsFilter(asset_key=WALLET_TRADES, storage_ids=ids[start : start + _PAGE]),
            limit=_PAGE,
        ).records:
            event = item.asset_observation
            if event is not None and (attempt := _read(event)):
                found[attempt.wallet] = attempt
    return found


def failed(instance: dg.DagsterInstance) -> list[str]:
    """The wallets whose latest attempt failed, whatever they had before.

    Dagster calls a wallet failed when the run has ended; while it goes on, and if it is terminated,
    the noted attempt alone tells.
    """
    wallets = registered(instance)
    statuses = instance.get_status_by_partition(WALLET_TRADES, wallets, wallets_partitions) or {}
    noted = latest(instance, wallets)
    return [
        wallet
        for wallet in wallets
        if wallet in noted or statuses.get(wallet) == AssetPartitionStatus.FAILED
    ]


def due_of(remaining: Collection[str], tried: Mapping[str, Attempt]) -> list[str]:
    """Those of `remaining` that were never tried, and then those in `tried` that are due again.

    A complete wallet whose refresh failed is in `tried` only.
    """
    fresh = [wallet for wallet in remaining if wallet not in tried]
    again = sorted((each.due, wallet) for wallet, each in tried.items() if each.due is not None)
    return fresh + [wallet for moment, wallet in again if moment <= now()]


def _read(event: dg.AssetObservation) -> Attempt | None:
    """None if somebody else made that observation."""
    number = event.metadata.get("failed_attempt")
    at = event.metadata.get("failed_at")
    if not isinstance(number, dg.IntMetadataValue) or not isinstance(at, dg.TimestampMetadataValue):
        return None
    return Attempt(
        wallet=event.partition or "",
        number=number.value or 0,
        at=at.value,
        kind=str(event.metadata["kind"].value),
        reason=str(event.metadata["reason"].value),
    )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
