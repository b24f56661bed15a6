"""What the overview of the asset that is fetched shows: the numbers of all wallets.

Dagster's overview shows the asset's latest materialization, whichever partition it is of, and no
observation beside it: after a fetch that would be the last wallet. So a fetch ends with a
materialization without a partition. It has no data version and commits nothing: everything that
reads the record reads it by partition.

It belongs to no run: Dagster's daemon fails a backfill whose runs materialize a partitioned asset
without a partition.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg

from polycopy_assets.ledger.failure import beside
from polycopy_assets.record import attempts
from polycopy_assets.record.attempts import Attempt
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.partitions import registered
from polycopy_assets.record.private import runless
from polycopy_assets.text import one_line
from polycopy_assets.trades.segment import recorded_rows

NAMED = 20
_REASON = 240
"""Characters of a reason: the whole one is in the wallet's own events."""
_TO_DO = "see the reasons; when the cause is gone: the job `{}` with `select: failed`"


def write(record: FeedRecord) -> None:
    """Writes the numbers of all wallets, unless the latest materialization says the same."""
    said = _numbers(record)
    event = record.instance.get_latest_materialization_event(record.keys.wallets)
    latest = event.asset_materialization if event else None
    if latest is not None and latest.partition is None and dict(latest.metadata) == said:
        return
    numbers = dg.AssetMaterialization(record.keys.wallets, metadata=said)
    for _ in runless.write(record.instance, [numbers]):
        pass


def _numbers(record: FeedRecord) -> dict[str, dg.MetadataValue]:
    wallets = registered(record.instance)
    rows = recorded_rows(record.versions())
    complete = [wallet for wallet in wallets if wallet in rows]
    failed = attempts.latest(record, wallets)
    said: dict[str, dg.MetadataValue] = {}
    if failed:  # first, because the page shows them in this order
        said["first_failed"] = _failed(failed)
        said["what_to_do"] = dg.MetadataValue.text(_TO_DO.format(record.feed.own("fetch")))
    return said | {
        "wallets": dg.MetadataValue.int(len(wallets)),
        "complete": dg.MetadataValue.int(len(complete)),
        "remaining": dg.MetadataValue.int(len(wallets) - len(complete)),
        "failed": dg.MetadataValue.int(len(failed)),
        "dagster/row_count": dg.MetadataValue.int(sum(rows[wallet] for wallet in complete)),
    }


def _failed(failed: Mapping[str, Attempt]) -> dg.MetadataValue:
    """The wallets that failed last, the latest first: when, why, and when they are tried again."""
    latest = sorted(failed.values(), key=lambda each: -each.at)[:NAMED]
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "failed_at": _minute(each.at),
                    "next_attempt": _minute(each.due) if each.due else "none",
                    "wallet": each.wallet,
                    "reason": one_line(beside(each.wallet, each.reason), _REASON),
                }
            )
            for each in latest
        ],
        schema=dg.TableSchema(
            [
                dg.TableColumn("failed_at", "string", "UTC"),
                dg.TableColumn("next_attempt", "string", "UTC; none after the seventh attempt"),
                dg.TableColumn("wallet"),
                dg.TableColumn("reason"),
            ]
        ),
    )


def _minute(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
