"""Writes the record from within a step: each outcome becomes an event of Dagster's at once."""

from collections.abc import Sequence
from time import monotonic

import dagster as dg

from polycopy_assets.assets.charts import CHARTED_WALLETS, progress_chart
from polycopy_assets.fetch.blame import Failed, failed
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.pipeline.ports import FetchReport
from polycopy_assets.record import attempts, fetch_reports, materializations, refetching
from polycopy_assets.record.private.planned import mark_attempted
from polycopy_assets.record.step_events import log_event
from polycopy_assets.store.base import Store
from polycopy_assets.system import clock
from polycopy_assets.trades.segment import Segment, wallet_prefix

CHART_EVERY_SECONDS = 900.0
DOWN_TAG = "polycopy/source_down"
"""The tag of a run that found the source or the store down: when, epoch seconds."""

FAILED_TAG = "polycopy/failed_wallets"
"""The tag of a run in which wallets failed: how many."""

RECORDED_TAG = "polycopy/recorded_wallets"
"""The tag of a reconciliation that fetched, or of a run in which wallets failed: how many wallets
it fetched and recorded."""

COMMAND_TAG = "polycopy/command"
"""The tag of a run that is part of a command: the job that the command runs."""

NAMED_FAILURES = 20


def tag_run(context: dg.AssetExecutionContext, report: FetchReport) -> None:
    """Tags the run with how many wallets were recorded, how many failed, and what was down."""
    tags = {FAILED_TAG: str(len(report.failures))} if report.failures else {}
    if report.recorded:
        tags[RECORDED_TAG] = str(report.recorded)
    if report.down:
        tags[DOWN_TAG] = str(clock.now())
    if tags:
        context.instance.add_run_tags(context.run.run_id, tags)


class StepRecord:
    """Writes what a fetch has done into the event log, through the step of `context`.

    With `mark`, each failed wallet is marked as failed in Dagster, which does not know it by itself
    if the run was not started for exactly these wallets.
    """

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        store: Store,
        targets: Sequence[str],
        *,
        mark: bool,
    ) -> None:
        self._context = context
        self._instance = context.instance
        self._store = store
        self._mark = mark
        self._complete = materializations.versions(self._instance, targets)
        self._failed_before = attempts.latest(self._instance, targets)
        self._said: set[str] = set()
        self._charted = monotonic()
        self._shown: Progress | None = None

    def segments(self, wallet: str) -> Sequence[Segment]:
        """The segments that the wallet's record names; none without a record."""
        known = wallet in self._complete
        found = materializations.record(self._instance, wallet) if known else None
        return found.segments if found else ()

    def write(self, fetched: Fetched) -> None:
        """Writes the materialization that commits the wallet."""
        place = self._store.uri(wallet_prefix(fetched.wallet))
        version, metadata = materializations.describe(fetched, place)
        log_event(
            self._context, materializations.materialization(fetched.wallet, version, metadata)
        )

    def write_failure(self, failure: Failed) -> None:
        """Logs each reason once: an outage would fill the log.

        At once, and not when the run ends: terminating the run must not hide a failure.
        """
        if failure.reason not in self._said:
            self._said.add(failure.reason)
            self._context.log.error(f"{failure.wallet}: {failure.reason}")
            if failure.traceback:
                self._context.log.error(failure.traceback)
        if failure.tried and self._mark:
            mark_attempted(self._context, materializations.WALLET_TRADES, failure.wallet)

    def write_attempt(self, failure: Failed) -> None:
        """Writes the observation that counts as the wallet's failed attempt."""
        before = self._failed_before.get(failure.wallet)
        log_event(self._context, attempts.observation(failure, before))

    def note_refetch(self, wallet: str, *, full: bool) -> None:
        """Notes that segments of the wallet are about to be replaced, and whether all are."""
        state = refetching.State.BEGUN if full else refetching.State.MARKED
        refetching.note(self._instance, wallet, state)

    def end_refetch(self, wallet: str) -> None:
        """Notes that no segment of the wallet is left to replace."""
        refetching.end(self._instance, wallet)

    def show(self, progress: Progress) -> None:
        """Draws the progress of a long fetch, now and then."""
        self._shown = progress
        if monotonic() - self._charted >= CHART_EVERY_SECONDS:
            self._charted = monotonic()
            log_event(self._context, _picture(progress))

    def write_again(self, wallets: set[str]) -> list[Failed]:
        """Records skipped wallets again: Dagster marks what a failed run has not recorded.

        Wallets whose record cannot be read are returned as failed.
        """
        illegible = []
        for wallet, found in materializations.read_all(self._instance, wallets):
            if isinstance(found, materializations.Record):
                log_event(
                    self._context,
                    materializations.materialization(wallet, found.version, found.metadata),
                )
            else:
                illegible.append(failed(wallet, found))
        return illegible

    def end(self, report: FetchReport) -> None:
        """Writes the fetch's report, with a picture if the fetch was large.

        The command that started the run reads it there; in other runs only people do.
        """
        if self._shown and report.wallets >= CHARTED_WALLETS:
            log_event(self._context, _picture(self._shown))
        most = None if COMMAND_TAG in self._context.run.tags else NAMED_FAILURES
        log_event(self._context, fetch_reports.observation(report, most))


def _picture(progress: Progress) -> dg.AssetObservation:
    """The progress of the fetch, for people: on the asset's page, among its events."""
    return dg.AssetObservation(
        asset_key=materializations.WALLET_TRADES,
        description=progress.line(),
        metadata={
            "progress": dg.MetadataValue.md(progress_chart(progress.samples, progress.wallets)),
            **{name: getattr(progress, name) for name in _COUNTED},
        },
    )


_COUNTED = ("wallets", "done", "failed", "trades", "requests")
