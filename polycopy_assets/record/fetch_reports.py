"""The result of a fetch, as an observation that its run writes."""

import dagster as dg
import msgspec

from polycopy_assets.errors import Kind
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.pipeline.ports import FetchReport
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.text import counted

_REPORT = "fetch_report"
_TRADERS = dg.AssetKey("traders")
"""A sensor observes the table whenever it has changed: each time counts until the next."""

PICTURE = "progress"
"""The metadata key of a fetch's progress chart."""

WITHOUT_NEWS = "wallets_without_news"
"""The metadata key of how many wallets had no trades since their last materialization."""


def observation(feed: Feed, report: FetchReport, most: int | None = None) -> dg.AssetObservation:
    """The event that keeps `report`, with the failed wallets by reason.

    At most `most` reasons and `most` wallets of each are named: an outage fails every wallet.
    """
    reasons: dict[tuple[str, str], list[str]] = {}
    for failure in report.failures:
        reasons.setdefault((str(failure.kind), failure.reason), []).append(failure.wallet)
    failures = [
        {"kind": kind, "reason": reason, "wallets": wallets[:most]}
        for (kind, reason), wallets in list(reasons.items())[:most]
    ]
    kept = msgspec.to_builtins(msgspec.structs.replace(report, failures=()))
    return dg.AssetObservation(
        asset_key=asset_keys(feed).wallets,
        description=f"{counted(report.recorded, 'wallet')} recorded,"
        f" {len(report.failures):,} failed",
        metadata={_REPORT: dg.MetadataValue.json({**kept, "failures": failures})},
    )


def only_tells(event: dg.AssetObservation) -> bool:
    """Whether an observation only tells people what was done or seen: nothing is decided by it."""
    return event.partition is None and (
        event.asset_key == _TRADERS
        or not event.metadata.keys().isdisjoint({_REPORT, PICTURE, WITHOUT_NEWS})
    )


def read(record: FeedRecord, run_id: str) -> FetchReport | None:
    """The report of a run's fetch of the feed; None if the fetch did not finish."""
    for item in record.instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION, limit=10, ascending=False
    ).records:
        event = item.event_log_entry.asset_observation
        ours = event is not None and event.asset_key == record.keys.wallets
        value = event.metadata.get(_REPORT) if event and ours else None
        if isinstance(value, dg.JsonMetadataValue) and isinstance(value.data, dict):
            failures = [
                Failed(wallet=wallet, reason=each["reason"], kind=Kind.of(each["kind"]))
                for each in value.data["failures"]
                for wallet in each["wallets"]
            ]
            return msgspec.convert({**value.data, "failures": failures}, FetchReport)
    return None
