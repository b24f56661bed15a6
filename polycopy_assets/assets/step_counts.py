"""Writes the source's counts from within a step: outcomes become Dagster's events."""

from collections.abc import Sequence

import dagster as dg

from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.ledger.failure import beside
from polycopy_assets.ledger.source_counts import Count
from polycopy_assets.record import counts
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.private.planned import mark_attempted
from polycopy_assets.record.step_events import log_event


class StepCounts:
    """Writes counts of `feed` into the event log, through the step of `context`.

    `refetched` says that the wallets have just been fetched in full; with `mark`, each failed
    wallet is marked as failed in Dagster.
    """

    def __init__(
        self, context: dg.AssetExecutionContext, feed: Feed, *, refetched: bool, mark: bool
    ) -> None:
        self._context = context
        self._feed = feed
        self._record = FeedRecord(context.instance, feed)
        self._refetched = refetched
        self._mark = mark
        self._before = counts.latest(self._record)

    def write(self, count: Count) -> None:
        """Writes the materialization that keeps the count."""
        known = self._before.get(count.wallet)
        log_event(
            self._context,
            counts.materialization(self._feed, count.after(known, refetched=self._refetched)),
        )

    def write_failure(self, failure: Failed) -> None:
        """Reports at once that a wallet could not be compared, if it was requested."""
        if not failure.tried:
            return
        self._context.log.error(f"{failure.wallet}: {beside(failure.wallet, failure.reason)}")
        if failure.traceback:
            self._context.log.error(failure.traceback)
        if self._mark:
            mark_attempted(self._context, self._record.keys.counts, failure.wallet)
        log_event(self._context, counts.failure(self._feed, failure))

    def write_skipped(self, skipped: Sequence[Failed]) -> None:
        """Records which wallets were skipped because there was nothing to compare."""
        for failure in skipped:
            log_event(self._context, counts.failure(self._feed, failure))
