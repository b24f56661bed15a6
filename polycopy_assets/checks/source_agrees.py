"""`source_agrees`: whether the source counts as many trades as the table holds, as a check."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from polycopy_assets.checks.computed import NAMED
from polycopy_assets.checks.shown import shown
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.ledger.source_counts import Count
from polycopy_assets.record import counts
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.partitions import registered
from polycopy_assets.text import counted

SOURCE_AGREES = dg.AssetCheckSpec(
    "source_agrees",
    asset=asset_keys(TRADES).counts,
    description="In each wallet's latest comparison, the source counted as many trades as the "
    "table holds. It only warns: a difference is a hint, not a proof.",
)
_TO_DO = (
    'a difference is a hint: docs/reconciliation.md, "The source\'s own count"; '
    "`polycopy reconcile --source --apply` fetches these wallets again in full"
)


def agreement(
    record: FeedRecord, failed: Sequence[Failed], *, not_compared: int
) -> dg.AssetCheckResult:
    """The check's result, from each wallet's latest count and the requests that just `failed`.

    `not_compared` wallets were not requested: they are not complete, or the table lacks rows.
    """
    known = set(registered(record.instance))
    latest = [count for wallet, count in counts.latest(record).items() if wallet in known]
    differ = sorted(
        (count for count in latest if not count.agrees), key=lambda count: -abs(count.difference)
    )
    told = []
    if differ:
        first = differ[0]
        told.append(
            f"{counted(len(differ), 'wallet differs', 'wallets differ')}, first {first.wallet}: "
            f"{counted(first.source, 'trade')} by the source, {first.ours:,} in the table, "
            f"before {_day(first.until)}"
        )
    if failed:
        told.append(
            f"{counted(len(failed), 'wallet')} could not be compared, first {failed[0].wallet}: "
            f"{failed[0].reason}"
        )
    return dg.AssetCheckResult(
        check_name=SOURCE_AGREES.name,
        asset_key=SOURCE_AGREES.asset_key,
        passed=not told,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(told) or counted(len(latest), "wallet agrees", "wallets agree"),
        metadata={
            "compared": len(latest),
            "differ": len(differ),
            **shown("first", difference_table(differ[:NAMED])),
            "not_compared": not_compared,
            "failed": len(failed),
            **shown("first_failed", [[item.wallet, item.reason] for item in failed[:NAMED]]),
            **({"what_to_do": _TO_DO} if differ else {}),
        },
    )


def difference_table(differ: Sequence[Count]) -> dg.TableMetadataValue:
    """Wallets whose counts differ, with both numbers."""
    columns = {
        "wallet": "string",
        "source": "int",
        "table": "int",
        "before": "string",
        "asked": "string",
        "refetched": "string",
    }
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "wallet": count.wallet,
                    "source": count.source,
                    "table": count.ours,
                    "before": _day(count.until),
                    "asked": _day(count.asked),
                    "refetched": _day(count.refetched) if count.refetched else "",
                }
            )
            for count in differ
        ],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
