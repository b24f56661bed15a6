"""Writes the record from within a step: outcomes become Dagster's events, wallets in batches."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from time import monotonic

import dagster as dg

from polycopy_assets.assets.charts import CHARTED_WALLETS, progress_chart
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.blame import Failed, failed
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.ours import HIDDEN
from polycopy_assets.ledger.failure import beside
from polycopy_assets.pipeline.ports import FetchReport
from polycopy_assets.record import attempts, fetch_reports, materializations, overview, refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.record.private.planned import mark_attempted
from polycopy_assets.record.records_ahead import RecordsAhead
from polycopy_assets.record.step_context import StepContext
from polycopy_assets.record.step_events import log_event, log_materializations
from polycopy_assets.system import clock
from polycopy_assets.text import counted
from polycopy_assets.trades.segment import Segment

CHART_EVERY_SECONDS = 900.0
DOWN_TAG = f"{HIDDEN}source_down"
"""The tag of a run that found the source or the store down: when, epoch seconds."""

FOUND_DOWN_TAG = "polycopy/found_down"
"""The same time for people."""

_DOWN_TAG_BEFORE = "polycopy/source_down"
"""The name of `DOWN_TAG` in earlier versions."""

WALLETS_TAG = "polycopy/wallets"
"""The tag of a run that fetches: how many wallets, for people."""

PROGRESS_TAG = "polycopy/progress"
"""The tag of a fetch of more than a minute: how far it is, for people. The run's own page shows a
block for each wallet that is recorded; the list of runs shows this."""

TAG_EVERY_SECONDS = 60.0

FAILED_TAG = "polycopy/failed_wallets"
"""The tag of a run in which wallets failed: how many."""

RECORDED_TAG = "polycopy/recorded_wallets"
"""The tag of a reconciliation that fetched, or of a run in which wallets failed: how many wallets
it fetched and recorded."""

COMMAND_TAG = "polycopy/command"
"""The tag of a run that is part of a command: the job that the command runs."""

MANY = 50
"""A fetch of more wallets says in its log where the log is without an event for each of them."""

_LINES = (
    "the lines alone, without an event for each wallet: untick Event under Levels, or open"
    " /runs/{run}?levels=critical|error|info|warning"
)

NAMED_FAILURES = 20
REWRITTEN_TOGETHER = 200
"""Records of skipped wallets that are written again in one batch."""


def tag_plan(context: StepContext, wallets: int) -> None:
    """Tags the run with how many wallets it is to fetch; of many, its log says how to read it."""
    if wallets > MANY:
        context.log.info(_LINES.format(run=context.run.run_id))
    tags = {WALLETS_TAG: f"{wallets:,}"}
    if PROGRESS_TAG in context.run.tags:  # a retry inherits the tags of the run before
        tags[PROGRESS_TAG] = f"0/{counted(wallets, 'wallet')}"
    context.instance.add_run_tags(context.run.run_id, tags)


def tag_run(context: StepContext, report: FetchReport) -> None:
    """Tags the run with how many wallets were recorded, how many failed, and what was down."""
    tags = {FAILED_TAG: str(len(report.failures))} if report.failures else {}
    if report.recorded:
        tags[RECORDED_TAG] = str(report.recorded)
    if report.down:
        tags[DOWN_TAG] = str(clock.now())
        tags[FOUND_DOWN_TAG] = f"{datetime.fromtimestamp(clock.now(), UTC):%Y-%m-%d %H:%M} UTC"
    if tags:
        context.instance.add_run_tags(context.run.run_id, tags)


def down_at(run: dg.DagsterRun) -> float | None:
    """When the run found the source or the store down, epoch seconds; None if it did not."""
    found = run.tags.get(DOWN_TAG) or run.tags.get(_DOWN_TAG_BEFORE)
    return float(found) if found else None


class StepRecord:
    """Writes what a fetch of `feed` has done into the event log, through the step of `context`.

    With `mark`, the run was not started for exactly these wallets. Then Dagster does not know by
    itself which of them fail, so each of those is marked as failed; and a wallet without news needs
    no materialization, because the coverage object says all there is to say.
    """

    def __init__(
        self, context: StepContext, feed: Feed, targets: Sequence[str], *, mark: bool
    ) -> None:
        self._context = context
        self._feed = feed
        self._record = FeedRecord(context.instance, feed)
        self._mark = mark
        self._complete = self._record.versions(targets)
        self._failed_before = attempts.latest(self._record, targets)
        self._ahead = RecordsAhead(
            self._record, [wallet for wallet in targets if wallet in self._complete]
        )
        self._before: dict[str, Record] = {}
        self._unwritten: list[Fetched] = []
        self._wallets = len(targets)
        self._ended = self._without_news = 0
        self._said: set[str] = set()
        self._charted = self._tagged = monotonic()
        self._has_tag = False
        self._shown: Progress | None = None

    def segments(self, wallet: str) -> Sequence[Segment]:
        """The segments that the wallet's record names; none without a record."""
        if wallet not in self._complete:
            return ()
        found = self._before.get(wallet) or self._ahead.take(wallet)
        if found is None:
            return ()
        self._before[wallet] = found
        return found.segments

    def write(self, fetched: Fetched) -> None:
        """Takes a wallet; the next `flush` writes the materialization that commits it."""
        self._unwritten.append(fetched)

    def flush(self) -> None:
        """Writes the materializations of the wallets taken since the last flush, in one batch.

        Everything that they rely on has to be durable before they are written.
        """
        fetched, self._unwritten = self._unwritten, []
        news, lines = [], []
        for each in fetched:
            self._ended += 1
            if self._is_news(each):
                news.append(_commit(self._feed, each))
                lines.append(
                    f"{self._ended:,}/{counted(self._wallets, 'wallet')}: {_rows(self._feed, each)}"
                )
        log_materializations(self._context, news, lines)
        self._without_news += len(fetched) - len(news)

    def _is_news(self, fetched: Fetched) -> bool:
        """Whether the wallet needs a materialization.

        Not if its segments are those of its record, and there is nothing to correct in Dagster: no
        failure that the materialization supersedes, no partition that the run has planned.
        """
        before = self._before.pop(fetched.wallet, None)
        return (
            not self._mark
            or before is None
            or not fetched.known
            or fetched.covered_until < before.covered_until
            or fetched.superseded is not None
            or fetched.wallet in self._failed_before
        )

    def write_failure(self, failure: Failed) -> None:
        """Logs each reason once: an outage would fill the log.

        At once, and not when the run ends: terminating the run must not hide a failure.
        """
        self._before.pop(failure.wallet, None)
        self._ended += 1
        if failure.reason not in self._said:
            self._said.add(failure.reason)
            self._context.log.error(f"{failure.wallet}: {beside(failure.wallet, failure.reason)}")
            if failure.traceback:
                self._context.log.error(failure.traceback)
        if failure.tried and self._mark:
            mark_attempted(self._context, self._record.keys.wallets, failure.wallet)

    def write_attempt(self, failure: Failed) -> None:
        """Writes the observation that counts as the wallet's failed attempt."""
        before = self._failed_before.get(failure.wallet)
        log_event(self._context, attempts.observation(self._feed, failure, before))

    def note_refetch(self, wallet: str, *, full: bool) -> None:
        """Notes that segments of the wallet are about to be replaced, and whether all are."""
        state = refetching.State.BEGUN if full else refetching.State.MARKED
        refetching.note(self._record, wallet, state)

    def end_refetch(self, wallet: str) -> None:
        """Notes that no segment of the wallet is left to replace."""
        refetching.end(self._record, wallet)

    def show(self, progress: Progress) -> None:
        """Tags the run with the progress of a long fetch, and draws it, now and then.

        From the thread of the step: Dagster writes all tags of a run at once, so that one of two
        threads would undo what the other has written.
        """
        self._shown = progress
        if monotonic() - self._tagged >= TAG_EVERY_SECONDS:
            self._tagged, self._has_tag = monotonic(), True
            self._tag(progress)
        if monotonic() - self._charted >= CHART_EVERY_SECONDS:
            self._charted = monotonic()
            log_event(self._context, _picture(self._record, progress))

    def _tag(self, progress: Progress) -> None:
        ended = progress.done + progress.failed
        failed_so_far = f", {progress.failed:,} failed" if progress.failed else ""
        at = f"{datetime.fromtimestamp(clock.now(), UTC):%H:%M} UTC"
        line = f"{ended:,}/{counted(progress.wallets, 'wallet')}{failed_so_far}, at {at}"
        self._context.instance.add_run_tags(self._context.run.run_id, {PROGRESS_TAG: line})

    def write_again(self, wallets: set[str]) -> list[Failed]:
        """Records skipped wallets again: Dagster marks what a failed run has not recorded.

        Wallets whose record cannot be read are returned as failed.
        """
        illegible: list[Failed] = []
        left = self._legible(wallets, illegible)
        while batch := list(islice(left, REWRITTEN_TOGETHER)):
            log_materializations(self._context, batch)
        self._wallets += len(illegible)
        return illegible

    def _legible(
        self, wallets: set[str], illegible: list[Failed]
    ) -> Iterator[dg.AssetMaterialization]:
        for wallet, found in self._record.read(wallets):
            if isinstance(found, Record):
                yield materializations.materialization(
                    self._feed, wallet, found.version, found.metadata
                )
            else:
                illegible.append(failed(wallet, found))

    def end(self, report: FetchReport, *, quickly: bool = False) -> None:
        """Writes the fetch's report, with a picture if the fetch was large.

        The command that started the run reads it there; in other runs only people do. A picture
        takes seconds to draw: there is none if the fetch has to end `quickly`.
        """
        if self._shown and self._has_tag:
            self._tag(self._shown)
        if self._shown and report.wallets >= CHARTED_WALLETS and not quickly:
            log_event(self._context, _picture(self._record, self._shown))
        if self._without_news:
            log_event(self._context, _no_news(self._record, self._without_news))
        most = None if COMMAND_TAG in self._context.run.tags else NAMED_FAILURES
        log_event(self._context, fetch_reports.observation(self._feed, report, most))
        if report.recorded or not report.failures:
            # Nothing was materialized if everything failed, and nothing must look as if it was.
            overview.write(self._record)


def _commit(feed: Feed, fetched: Fetched) -> dg.AssetMaterialization:
    version, metadata = materializations.describe(fetched)
    return materializations.materialization(feed, fetched.wallet, version, metadata)


def _rows(feed: Feed, fetched: Fetched) -> str:
    """What the run's page says of a wallet; its address stands below the line."""
    rows = sum(segment.rows for segment in fetched.segments)
    return f"{counted(fetched.new_rows, f'new {feed.row}', f'new {feed.rows}')}, {rows:,} in all"


def _no_news(record: FeedRecord, wallets: int) -> dg.AssetObservation:
    """The wallets that have no rows since their last materialization, all together."""
    return dg.AssetObservation(
        asset_key=record.keys.wallets,
        description=f"{counted(wallets, 'wallet has', 'wallets have')} no new {record.feed.rows}",
        metadata={fetch_reports.WITHOUT_NEWS: wallets},
    )


def _picture(record: FeedRecord, progress: Progress) -> dg.AssetObservation:
    """The progress of the fetch, for people: on the asset's page, among its events."""
    return dg.AssetObservation(
        asset_key=record.keys.wallets,
        description=progress.line(),
        metadata={
            fetch_reports.PICTURE: dg.MetadataValue.md(
                progress_chart(progress.samples, progress.wallets, progress.left(), progress.rows)
            ),
            "wallets": progress.wallets,
            "done": progress.done,
            "failed": progress.failed,
            record.feed.name: progress.served,
            "requests": progress.requests,
        },
    )
