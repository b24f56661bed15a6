"""The check of the store: what was recorded is still there. Daily, by the job `audit`."""

from functools import cache
from time import time

import dagster as dg

from polycopy_assets.checks.computed import NAMED, computed
from polycopy_assets.checks.shown import of_feed, shown
from polycopy_assets.checks.wallets import WANTED
from polycopy_assets.feeds.base import Feed
from polycopy_assets.reconcile.audit import Audit, audit
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.resources.embedded import StoreResource
from polycopy_assets.text import counted

NAME = "store_has_the_record"
_DAY = 86_400
_TO_DO = (
    "`polycopy reconcile` says what it would do, `--apply` fetches what is missing; if something"
    " deletes old files from the bucket or the disk, stop that first"
)


@cache
def store_has_the_record(feed: Feed) -> dg.AssetChecksDefinition:
    """The check that what is recorded of `feed` is in the store."""

    @dg.asset_check(
        asset=WANTED,
        name=feed.own(NAME),
        additional_deps=[asset_keys(feed).wallets],
        description=of_feed(
            feed,
            "Every segment that the record names is in the store, with its size and checksum. "
            "If the listing has no checksums, each segment is read again once in 28 days.",
        ),
    )
    def check(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
        """Fails with the first wallets that have lost a segment; one listing, and no lock."""
        with computed(context) as outcome:
            objects = store.open(context.instance, feed)
            outcome.result = _result(
                audit(context.instance, objects, int(time()) // _DAY, outcome.check)
            )
        return outcome.result

    return check


def _result(found: Audit) -> dg.AssetCheckResult:
    first = dict(list(found.lost.items())[:NAMED])
    return dg.AssetCheckResult(
        passed=not found.lost and not found.broken,
        description=(
            f"{counted(len(found.lost), 'wallet has', 'wallets have')} lost recorded segments,"
            f" first {next(iter(first))}: {next(iter(first.values()))}"
            if found.lost
            else f"{counted(len(found.broken), 'batch is', 'batches are')} broken, first"
            f" {next(iter(found.broken))}: {next(iter(found.broken.values()))}"
            if found.broken
            else f"all recorded segments are in the store: {found.segments:,}, of which"
            f" {found.read:,} were read"
        ),
        metadata={
            "wallets": found.wallets,
            "segments": found.segments,
            "segments_read": found.read,
            "wallets_with_losses": len(found.lost),
            "full_refetches_not_ended": found.refetches,
            **shown("first", first),
            **shown("left_out", list(found.left_out[:NAMED])),
            **shown("broken_batches", dict(list(found.broken.items())[:NAMED])),
            **({"what_to_do": dg.MetadataValue.text(_TO_DO)} if found.lost or found.broken else {}),
        },
    )
