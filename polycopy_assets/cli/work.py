"""The jobs that a backfill runs, and what they report."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import dagster as dg

from polycopy_assets.assets.fetch_config import Select
from polycopy_assets.assets.load_events import failed_line, is_recorded, left_by
from polycopy_assets.batches.manifests import forget
from polycopy_assets.cli.beside import Beside
from polycopy_assets.cli.runs import failed_by, raise_failure, raise_if_stopped, run_job
from polycopy_assets.errors import DatabaseBusy, OutOfTime, PolycopyError, Stopped, with_notes
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import WAREHOUSE
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.ours import Job
from polycopy_assets.ledger.failure import Failure
from polycopy_assets.pipeline.load import lacking, lacking_still, lost_rows
from polycopy_assets.pipeline.ports import FetchReport
from polycopy_assets.record import fetch_reports, refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.oldest_coverage import covered_in_all
from polycopy_assets.record.partitions import registered
from polycopy_assets.record.store_id import checked_table
from polycopy_assets.resources.chosen import open_store, open_warehouse
from polycopy_assets.settings import Settings
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.system.interrupt import noting_sigterm
from polycopy_assets.warehouse.feed_table import FeedTable


class Work:
    """Runs the jobs that fetch and load `feed`, and collects what they report.

    `left` are the wallets that were to be fetched when the time was up. For `deadline`,
    `older_than` and `only` see `backfill`.
    """

    def __init__(  # noqa: PLR0917 - each is something else
        self,
        instance: dg.DagsterInstance,
        settings: Settings,
        feed: Feed,
        progress: Progress,
        deadline: Deadline | None,
        older_than: int,
        only: Sequence[str] = (),
    ) -> None:
        self._instance = instance
        self.feed = feed
        self._record = FeedRecord(instance, feed)
        self._settings = settings
        self._progress = progress
        self._deadline = deadline
        self._older_than = older_than
        self._only = list(only)
        self._load_left = False
        self._mended: set[str] = set()
        self.left = 0
        self.fetched: list[FetchReport] = []
        self.failed_checks: list[str] = []
        self._of_checks: list[str] = []
        self.errors: list[str] = []

    def do(self, select: Select, share: int = 1) -> None:
        """Fetches what `select` asks for, if there is anything, and loads what is new.

        The fetch may take one of `share` equal parts of the time that is left.
        """
        if self.told:
            if not self.fetched:  # another feed was fetched when it was told
                self.left = self._planned(select)
            return
        complete, wallets = self.complete, self.wallets
        if select == "all" or any(wallet not in complete for wallet in wallets):
            with self.noting("the fetch ended early"), self._at_most(share):
                self._fetch(select)
            if len(self.fetched) > 1:  # what failed at first may have been fetched now
                self._mended |= self.complete.keys() - complete.keys()
        if self.told or (self.out_of_time and self._others_load()):
            self._load_left = True
            return
        with self.noting("the table could not be loaded"):
            self._load()

    @property
    def complete(self) -> Mapping[str, str]:
        """The wallets that are complete, with their data versions."""
        return refetching.complete(self._record)

    def covered_in_all(self) -> int:
        """The ends of coverage of all wallets, added up; see `oldest_coverage`."""
        store = open_store(self._settings, self._instance, self.feed)
        return covered_in_all(self._record, self.wallets, read_coverage(store).of)

    def table_rows(self) -> int | None:
        """Rows in the table; None if it cannot be read, or the process was told to stop."""
        if not self.told:
            with self.noting("the table could not be counted"):
                table = open_warehouse(self._settings, self.feed.table).table(self.feed)
                return table.count_rows()
        return None

    @property
    def wallets(self) -> list[str]:
        """The wallets that are to be complete: those in `only`, or all that are registered."""
        return self._only or registered(self._instance)

    @property
    def out_of_time(self) -> bool:
        """Whether nothing more is fetched."""
        return self._deadline is not None and self._deadline.reached

    @property
    def told(self) -> bool:
        """Whether the process was told to stop, and has only seconds."""
        return self._deadline is not None and self._deadline.told

    @property
    def to_be_continued(self) -> bool:
        """Whether nothing is missing but time."""
        if self.told:
            return True
        wrong = self.errors or self.failed_checks
        return not wrong and (self._load_left or self.left > 0)

    def _at_most(self, share: int) -> AbstractContextManager[None]:
        return nullcontext() if self._deadline is None else self._deadline.earlier(share)

    def _others_load(self) -> bool:
        """Whether another run is loading: its end is not waited for when the time is up."""
        return instance_locks(self._instance).holder(WAREHOUSE) is not None

    @contextmanager
    def noting(self, what: str) -> Iterator[None]:
        """Notes an error of ours and continues, because the work done so far is still useful."""
        try:
            yield
        except (DatabaseBusy, Stopped):
            raise  # nothing can be done without Dagster's database, or is to be done any more
        except PolycopyError as error:
            self.errors.append(self._of_feed(f"{what}: {with_notes(error)}"))

    @property
    def failures(self) -> list[Failure]:
        """The wallets that failed, each once, and why, if no later fetch has made them complete."""
        last = {each.wallet: each.reason for report in self.fetched for each in report.failures}
        return [
            Failure(wallet, self._of_feed(reason))
            for wallet, reason in last.items()
            if wallet not in self._mended
        ]

    @property
    def warnings(self) -> list[str]:
        """What is strange in the rows that were fetched, and what the checks say that only warn.

        A type of row that is new, for instance: who has no UI open would learn of it nowhere else.
        """
        first: dict[str, str] = {}
        for report in self.fetched:
            first = {**report.oddities, **first}
        named = ", ".join(f"{what} (first {wallet})" for what, wallet in first.items())
        strange = f"strange {self.feed.rows}, in the table as they were served: {named}"
        return [*([strange] if first else []), *self._of_checks]

    def _of_feed(self, text: str) -> str:
        """`text`, which says that it is of this feed unless it is the first."""
        return text if self.feed.bare else f"{self.feed.label}: {text}"

    def _fetch(self, select: Select) -> None:
        config: dict[str, object] = {"select": select}
        if select == "all" and self._older_than:
            config["older_than"] = self._older_than
        if self._only:
            config["wallets"] = self._only
        result = self._run_fetch(config)
        report = None if result is None else fetch_reports.read(self._record, result.run_id)
        if report is not None:
            self.fetched.append(report)
            self.left = report.left
        elif self.out_of_time:
            self.left = self._planned(select)
        if result is None or self.told:
            return
        raise_if_stopped(self._instance, result)
        if report is None or report.ended_early or not report.failures:
            raise_failure(self._instance, result)

    def _run_fetch(self, config: Mapping[str, object]) -> dg.ExecuteInProcessResult | None:
        """The run of a fetch, with loads beside it; None if SIGTERM came where Dagster raises."""
        deadline = self._deadline
        with ExitStack() as stack:
            if deadline is not None:
                stack.enter_context(noting_sigterm(deadline.tell))
            stack.enter_context(
                Beside(self._instance, self._settings, self._progress, deadline, self.feed),
            )
            try:
                return run_job(
                    self._instance,
                    self._settings,
                    Job.FETCH,
                    config,
                    self._progress,
                    deadline=deadline,
                    feed=self.feed,
                )
            except dg.DagsterExecutionInterruptedError:
                if not self.told:
                    raise
        return None

    def _planned(self, select: Select) -> int:
        """How many wallets a fetch that could not begin would have fetched, at most."""
        wallets = self.wallets
        if select == "all":
            return len(wallets)
        complete = self.complete
        return sum(wallet not in complete for wallet in wallets)

    def _load(self) -> None:
        table_of = f"the table{'' if self.feed.bare else f' {self.feed.table}'}"
        self._progress.begin(f"comparing with {table_of}")
        forget()  # every manifest is read again, and from here on once
        store = open_store(self._settings, self._instance, self.feed)

        def table() -> FeedTable:
            warehouse = open_warehouse(self._settings, self.feed.table)
            return checked_table(self._instance, store, warehouse.table(store.feed))

        versions = self._record.versions()
        found = lacking(versions, store, table)
        if not found.why() and is_recorded(self._record, found.last_loaded, versions):
            lost = lost_rows(table(), found, versions)
            self.failed_checks = [self._of_feed(lost)] if lost else []
            return
        result = run_job(
            self._instance,
            self._settings,
            Job.LOAD,
            {},
            self._progress,
            deadline=self._deadline,
            feed=self.feed,
        )
        if failed_by(result, OutOfTime):
            self._load_left = True
            return
        raise_failure(self._instance, result)
        self._progress.begin(f"comparing with {table_of} again")
        checks = [each for each in result.get_asset_check_evaluations() if not each.passed]
        warn = dg.AssetCheckSeverity.WARN
        self.failed_checks = [failed_line(each) for each in checks if each.severity is not warn]
        self._of_checks = [failed_line(each) for each in checks if each.severity is warn]
        still = lacking_still(versions, self._record, store, table, found)
        left_out, stuck = left_by(checks)
        if left := still.why(left_out=left_out, stuck=stuck):
            ended = f"run {result.run_id} succeeded, but {left}"
            raise PolycopyError("; ".join([ended, *self.failed_checks]))
