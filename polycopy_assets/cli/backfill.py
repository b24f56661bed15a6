"""`polycopy backfill`: registers, fetches, combines and loads. It keeps no state of its own."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import dagster as dg
import msgspec

from polycopy_assets.assets.fetch_plan import Select
from polycopy_assets.assets.load_events import failed_line, is_recorded, left_by
from polycopy_assets.batches.manifests import forget
from polycopy_assets.cli.beside import Beside
from polycopy_assets.cli.common import Command, as_json, one_line_errors, say
from polycopy_assets.cli.display import shown
from polycopy_assets.cli.runs import raise_failure, raise_if_stopped, run_job
from polycopy_assets.cli.usable import Say, check_usable, register_new
from polycopy_assets.cli.without_trades import named_without_trades, without_trades
from polycopy_assets.errors import (
    DatabaseBusy,
    PolycopyError,
    Stopped,
    WarehouseBusy,
    with_notes,
)
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.guard.ours import Job
from polycopy_assets.ledger.failure import Failure, by_reason
from polycopy_assets.pipeline.load import lacking, lacking_still, lost_rows
from polycopy_assets.pipeline.ports import FetchReport
from polycopy_assets.record import fetch_reports, materializations, refetching
from polycopy_assets.record.instance import opened
from polycopy_assets.record.lost_record import refuse_lost_record
from polycopy_assets.record.partitions import registered
from polycopy_assets.record.reader import DagsterRecords
from polycopy_assets.record.store_id import checked_table
from polycopy_assets.resources.chosen import open_store, open_warehouse
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.warehouse.base import Warehouse

NAMED_FAILURES = 10


class BackfillReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a backfill.

    `trades_fetched` are new rows in the store, `requests` HTTP requests of all kinds,
    `failed_checks` what the checks of the table found, if it was loaded, and `errors` the other
    errors: why the fetch ended early, why the table could not be loaded. `table_rows` is None if
    the table cannot be read.
    """

    wallets: int
    complete: int
    failed: int
    remaining: int
    complete_without_trades: int
    requests: int
    trades_fetched: int
    table_rows: int | None
    seconds: float
    failures: list[Failure]
    failed_checks: list[str]
    errors: list[str]


def backfill(
    instance: dg.DagsterInstance,
    settings: Settings,
    *,
    refresh: bool,
    progress: Progress,
    say: Say,
) -> BackfillReport:
    """Fetches every wanted wallet and loads it into the table.

    Failed wallets are in the report and do not keep the others from being loaded; neither does a
    fetch that ended early. Raises PolycopyError if the work cannot begin.
    """
    started, work = time.monotonic(), _Work(instance, settings, progress)
    for run_id, cause in end_dead_runs(instance).items():
        say(f"run {run_id} was dead, and has been ended: {cause}")
    busy = _begin(instance, settings, say)
    if busy:
        say(f"{busy}. Registered wallets are fetched now; the table is tried again at the end")
    work.do("all" if refresh else "remaining")
    if busy and not work.errors:
        with work.noting("`traders` could not be read"):
            if register_new(instance, settings, say):
                work.do("remaining")
    table_rows: int | None = None
    with work.noting("the table could not be counted"):
        table_rows = open_warehouse(settings, "trades").count_rows()
    wallets = registered(instance)
    complete = refetching.complete(instance)
    missing = [wallet for wallet in wallets if wallet not in complete]
    empty = without_trades(wallets, complete)
    for line in named_without_trades(empty):
        say(line)
    failures = [failure for report in work.fetched for failure in report.failures]
    return BackfillReport(
        wallets=len(wallets),
        complete=len(wallets) - len(missing),
        complete_without_trades=len(empty),
        failed=len(failures),
        remaining=len(missing),
        requests=sum(report.requests for report in work.fetched),
        trades_fetched=sum(report.new_rows for report in work.fetched),
        table_rows=table_rows,
        seconds=round(time.monotonic() - started, 3),
        failures=[each.plain for each in failures],
        failed_checks=work.failed_checks,
        errors=work.errors,
    )


class _Work:
    """Runs the jobs `fetch` and `load`, and collects what they report."""

    def __init__(
        self, instance: dg.DagsterInstance, settings: Settings, progress: Progress
    ) -> None:
        self._instance = instance
        self._settings = settings
        self._progress = progress
        self.fetched: list[FetchReport] = []
        self.failed_checks: list[str] = []
        self.errors: list[str] = []

    def do(self, select: Select) -> None:
        """Fetches what `select` asks for, if there is anything, and loads what is new."""
        complete = refetching.complete(self._instance)
        wallets = registered(self._instance)
        if select == "all" or any(wallet not in complete for wallet in wallets):
            with self.noting("the fetch ended early"):
                self._fetch(select)
        with self.noting("the table could not be loaded"):
            self._load()

    @contextmanager
    def noting(self, what: str) -> Iterator[None]:
        """Notes an error of ours and continues, because the work done so far is still useful."""
        try:
            yield
        except (DatabaseBusy, Stopped):
            raise  # nothing can be done without Dagster's database, or is to be done any more
        except PolycopyError as error:
            self.errors.append(f"{what}: {with_notes(error)}")

    def _fetch(self, select: Select) -> None:
        config = {"select": select}
        with Beside(self._instance, self._settings, self._progress):
            result = run_job(self._instance, self._settings, Job.FETCH, config, self._progress)
        report = fetch_reports.read(self._instance, result.run_id)
        if report is not None:
            self.fetched.append(report)
        raise_if_stopped(self._instance, result)
        if report is None or report.ended_early or not report.failures:
            raise_failure(self._instance, result)

    def _load(self) -> None:
        forget()  # every manifest is read again, and from here on once
        store = open_store(self._settings, self._instance)

        def table() -> Warehouse:
            return checked_table(self._instance, store, open_warehouse(self._settings, "trades"))

        versions = materializations.versions(self._instance)
        found = lacking(versions, store, table)
        if not found.why() and is_recorded(self._instance, found.last_loaded, versions):
            lost = lost_rows(table(), found, versions)
            self.failed_checks = [lost] if lost else []
            return
        result = run_job(self._instance, self._settings, Job.LOAD, {}, self._progress)
        raise_failure(self._instance, result)
        checks = [each for each in result.get_asset_check_evaluations() if not each.passed]
        self.failed_checks = [failed_line(each) for each in checks]
        still = lacking_still(versions, DagsterRecords(self._instance), store, table)
        left_out, stuck = left_by(checks)
        if left := still.why(left_out=left_out, stuck=stuck):
            ended = f"run {result.run_id} succeeded, but {left}"
            raise PolycopyError("; ".join([ended, *self.failed_checks]))


def _begin(instance: dg.DagsterInstance, settings: Settings, say: Say) -> WarehouseBusy | None:
    """Checks that the work can begin, and registers new wallets; the error if the table is busy."""
    busy = None
    try:
        check_usable(instance, settings)
        register_new(instance, settings, say)
    except WarehouseBusy as error:
        busy = error
    refuse_lost_record(instance, open_store(settings, instance))
    return busy


@click.command("backfill", cls=Command)
@click.option("--refresh", is_flag=True, help="Also fetch the new trades of complete wallets.")
@as_json
def backfill_command(*, refresh: bool, as_json: bool) -> None:
    """Fetch every wallet that is not complete, combine, and load.

    Safe to interrupt and to repeat: only what is not stored yet is fetched. Exit code 1 if a wallet
    failed; the others are loaded.
    """
    with one_line_errors():
        report = run_backfill(settings(), refresh=refresh)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        print_report(report)
    sys.exit(exit_code(report))


def run_backfill(chosen: Settings, *, refresh: bool) -> BackfillReport:
    """The backfill, with its progress on standard error."""
    progress = Progress()
    with (
        opened(chosen.home) as instance,
        shown(progress, "backfill"),
    ):
        return backfill(
            instance,
            chosen,
            refresh=refresh,
            progress=progress,
            say=say,
        )


def print_report(report: BackfillReport) -> None:
    """Prints the result of a backfill."""
    if not report.requests and not report.failures and not report.errors:
        click.echo(f"Nothing to fetch: all {report.complete:,} wallets are complete.")
    else:
        click.echo(
            f"{report.trades_fetched:,} trades fetched with {report.requests:,} requests"
            f" in {report.seconds:.1f} s."
        )
    click.echo(
        f"{report.complete:,} of {report.wallets:,} wallets complete, {report.failed:,} failed;"
        + ("" if report.table_rows is None else f" {report.table_rows:,} rows in the table.")
    )
    for line in by_reason(report.failures, NAMED_FAILURES):
        say(f"failed: {line}")
    for check in report.failed_checks:
        say(f"check failed: {check}")
    for error in report.errors:
        say(f"polycopy: {error}")


def exit_code(report: BackfillReport) -> int:
    """0 if everything is complete and in the table, else 1."""
    left = report.failed or report.remaining or report.failed_checks or report.errors
    return 1 if left else 0
