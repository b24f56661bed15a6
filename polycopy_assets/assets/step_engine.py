"""The engine of a reconciliation, working inside its own step."""

from collections.abc import Callable, Collection, Sequence

import dagster as dg

from polycopy_assets.assets.count_plan import due_counts, in_the_table
from polycopy_assets.assets.fetch_plan import plan_wallets
from polycopy_assets.assets.load_events import (
    check_of_batches,
    check_of_record,
    combined_metadata,
    combined_version,
    evaluation,
    failed_line,
    loaded_metadata,
    loaded_version,
)
from polycopy_assets.assets.step_counts import StepCounts
from polycopy_assets.assets.step_record import StepRecord, tag_run
from polycopy_assets.checks.computed import or_failed
from polycopy_assets.checks.source_agrees import agreement
from polycopy_assets.checks.table import (
    NO_DUPLICATE_IDS,
    ROWS_MATCH_RECORD,
    conservation,
    duplicates,
)
from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import WAREHOUSE, exclusive
from polycopy_assets.guard.working import Permit
from polycopy_assets.pipeline.combine import Combined, combine_new
from polycopy_assets.pipeline.count import count
from polycopy_assets.pipeline.fetch import fetch
from polycopy_assets.pipeline.load import lacking, lacking_still, load_batches, lost_rows
from polycopy_assets.pipeline.ports import Check, CountPorts, FetchPorts, FetchReport, LoadPorts
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import DATA_VERSION_TAG
from polycopy_assets.record.step_events import log_event
from polycopy_assets.record.store_id import checked_table
from polycopy_assets.resources.embedded import SourceResource
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.feed_table import FeedTable


class StepEngine:
    """Fetches, loads and counts through the step of `context`, which writes the events.

    `open_warehouse` opens the warehouse, whose jobs have the name of an asset. `permit` belongs to
    the lock on the source, which the step holds.
    """

    def __init__(  # noqa: PLR0917 - each is something else
        self,
        context: dg.AssetExecutionContext,
        source: SourceResource,
        store: FeedStore,
        open_warehouse: Callable[[str], Warehouse],
        progress: Progress,
        permit: Permit,
        memory: int,
    ) -> None:
        self.progress = progress
        self._context = context
        self._instance = context.instance
        self._record = FeedRecord(context.instance, store.feed)
        self._names = store.feed.assets
        self._source = source
        self._store = store
        self._open_warehouse = open_warehouse
        self._permit = permit
        self._memory = memory

    def check(self) -> None:
        """Raises Stopped if the run must not go on."""
        self._permit.check()

    def fetch(self, wallets: Sequence[str], *, full: bool = False) -> FetchReport:
        """Fetches `wallets` and records them; with `full` from the beginning."""
        self._source.check_writable(self._store)
        plan = plan_wallets(self._record, wallets, full=full)
        # The run continues when wallets fail: Dagster would show marked wallets as in progress for
        # ever.
        record = StepRecord(self._context, self._store.feed, plan.targets, mark=False)
        report = fetch(
            plan,
            FetchPorts(
                open_source=self._source.opener(
                    self.progress, self._asked(), feed=self._store.feed
                ),
                store=self._store,
                coverage=CoverageWriter(self._store, self._context.run.run_id),
                record=record,
                limits=self._source.limits,
                progress=self.progress,
                check=self._permit.check,
                deadline=Deadline(),
            ),
        )
        record.end(report)
        tag_run(self._context, report)
        return report

    def count(self, wallets: Sequence[str] | None = None, *, refetched: bool = False) -> None:
        """Asks the source for its counts of `wallets`; None: of all that are due."""
        chosen = due_counts(self._record) if wallets is None else list(wallets)
        comparable, others = in_the_table(
            self._instance, chosen, self._store, self._open(self._names.counts)
        )
        record = StepCounts(self._context, self._store.feed, refetched=refetched, mark=False)
        if wallets is not None:
            record.write_skipped(others)
        ports = CountPorts(
            open_source=self._source.opener(self.progress, self._asked(), feed=self._store.feed),
            record=record,
            concurrency=self._source.concurrency,
            progress=self.progress,
            check=self._permit.check,
        )
        failed = [*(others if wallets is not None else ()), *count(comparable, ports)]
        self._evaluated(agreement(self._record, failed, not_compared=len(others)))

    def _asked(self) -> Permit:
        """The permit to send requests; only the first one has an idle time."""
        permit, self._permit = self._permit, self._permit._replace(idle=0.0)
        return permit

    def load(self, force: Collection[str] = ()) -> list[str] | None:
        """Combines and loads; returns the failed checks, or None if there was nothing to do."""
        record, keys = self._record, self._record.keys
        versions = record.versions()
        found = lacking(versions, self._store, lambda: self._open(self._names.table))
        if not force and not found.why():
            lost = lost_rows(self._open(self._names.table), found, versions)
            return [lost] if lost else None
        with exclusive(self._context, WAREHOUSE, self._say, self._permit.check) as held:

            def check() -> None:
                self._permit.check()
                held.lock.check()

            made = self._combine(frozenset(force), check)
            self._load(check)
        self.progress.begin("checking the table")
        results = [
            check_of_record(record.feed, made.lost),
            check_of_batches(record.feed, made),
            or_failed(
                NO_DUPLICATE_IDS, keys.table, lambda: duplicates(self._open(self._names.table))
            ),
            or_failed(
                ROWS_MATCH_RECORD,
                keys.table,
                lambda: conservation(self._instance, self._store, self._open(self._names.table)),
            ),
        ]
        for result in results:
            self._evaluated(result)
        still = lacking_still(
            versions, record, self._store, lambda: self._open(self._names.table), found
        )
        left = still.why(left_out=len(made.lost), stuck=len(made.stuck))
        failed = [failed_line(each) for each in results if not each.passed]
        if left:
            ended = f"run {self._context.run.run_id} has loaded, but {left}"
            raise PolycopyError("; ".join([ended, *failed]))
        return failed

    def _combine(self, force: frozenset[str], check: Check) -> Combined:
        loaded = self._open(self._names.combined).loaded_batches()
        made = combine_new(
            self._record,
            self._store,
            loaded,
            self._context.log,
            check,
            force=force,
            memory=self._memory,
            step=self.progress.step,
        )
        self._materialized(
            self._record.keys.combined, combined_version(made), combined_metadata(made, self._store)
        )
        return made

    def _load(self, check: Check) -> None:
        table = self._open(self._names.table)
        report = load_batches(
            LoadPorts(
                self._record,
                self._store,
                table,
                self._context.log,
                check,
                self._memory,
                self.progress.step,
            )
        )
        metadata = loaded_metadata(report, self._record, table)
        self._materialized(self._record.keys.table, loaded_version(report.last_batch), metadata)

    def _open(self, asset: str) -> FeedTable:
        """The table, whose jobs are labelled as those of `asset`."""
        table = self._open_warehouse(asset).table(self._store.feed)
        return checked_table(self._instance, self._store, table)

    def _evaluated(self, result: dg.AssetCheckResult) -> None:
        self._instance.report_runless_asset_event(evaluation(result))

    def _materialized(
        self, key: dg.AssetKey, version: str, metadata: dict[str, dg.MetadataValue | int | str]
    ) -> None:
        log_event(
            self._context,
            dg.AssetMaterialization(
                asset_key=key, metadata=metadata, tags={DATA_VERSION_TAG: version}
            ),
        )

    def _say(self, text: str) -> None:
        self.progress.begin(text)
        if text:
            self._context.log.info(text)
