"""`polycopy backfill`: registers, fetches, combines and loads. It keeps no state of its own."""

import sys
import time
from collections.abc import Sequence

import click
import dagster as dg
import msgspec

from polycopy_assets.cli.common import Command, as_json, one_line_errors, say
from polycopy_assets.cli.display import shown
from polycopy_assets.cli.duration import Duration
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.talk import talkative
from polycopy_assets.cli.usable import Say, check_usable, register_new
from polycopy_assets.cli.wallet_list import given_wallets
from polycopy_assets.cli.without_trades import named_without_trades, without_trades
from polycopy_assets.cli.work import Work
from polycopy_assets.errors import ConfigurationError, OutOfTime, WarehouseBusy
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.ledger.failure import Failure, by_reason
from polycopy_assets.record import refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.lost_record import refuse_lost_record
from polycopy_assets.record.partitions import registered
from polycopy_assets.resources.chosen import open_store, open_warehouse
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.system.interrupt import TO_BE_CONTINUED, continues_later
from polycopy_assets.text import counted, duration, first_few
from polycopy_assets.trades.wallet import refusals

NAMED_FAILURES = 10
CONTINUES = "start it again, it continues"
_LONG = 60


class BackfillReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a backfill.

    `trades_fetched` are new rows in the store, `requests` HTTP requests of all kinds,
    `failed_checks` what the checks of the table found, if it was loaded, and `errors` the other
    errors: why the fetch ended early, why the table could not be loaded. `table_rows` is None if
    the table cannot be read, or was not, because the process was told to stop. `left` are the
    wallets that were to be fetched when the time was up; `to_be_continued` says that the same
    command has to be started again for them, or for the load, and that nothing else is wrong.
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
    left: int = 0
    to_be_continued: bool = False


def backfill(
    instance: dg.DagsterInstance,
    settings: Settings,
    *,
    refresh: bool,
    progress: Progress,
    say: Say,
    deadline: Deadline | None = None,
    older_than: int = 0,
    only: Sequence[str] = (),
) -> BackfillReport:
    """Fetches every wanted wallet and loads it into the table.

    With `refresh` complete wallets as well, if their coverage ended at least `older_than` seconds
    ago. At the `deadline` the fetch ends, and what it has is loaded; if the process was told to
    stop, nothing more is loaded.

    With `only` no other wallets are fetched or counted; all that is recorded is loaded. Raises
    ConfigurationError, which names them, if some of them are not wanted, and WarehouseBusy if that
    cannot be found out.

    Failed wallets are in the report and do not keep the others from being loaded; neither does a
    fetch that ended early. Raises PolycopyError if the work cannot begin.
    """
    started = time.monotonic()
    work = Work(instance, settings, progress, deadline, older_than, only)
    for run_id, cause in end_dead_runs(instance).items():
        say(f"run {run_id} was dead, and has been ended: {cause}")
    busy = _begin(instance, settings, say)
    _refuse_unknown(instance, only, busy)
    if busy:
        say(f"{busy}. Registered wallets are fetched now; the table is tried again at the end")
    work.do("all" if refresh else "remaining")
    if busy and not work.errors and not work.out_of_time:
        with work.noting("`traders` could not be read"):
            if register_new(instance, settings, say):
                work.do("remaining")
    table_rows: int | None = None
    if not work.told:
        with work.noting("the table could not be counted"):
            table_rows = open_warehouse(settings, "trades").table(TRADES).count_rows()
    wallets = work.wallets
    complete = refetching.complete(FeedRecord(instance, TRADES))
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
        left=work.left,
        to_be_continued=work.to_be_continued,
    )


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


def _refuse_unknown(
    instance: dg.DagsterInstance, wallets: Sequence[str], busy: WarehouseBusy | None
) -> None:
    unknown = sorted({*wallets} - {*registered(instance)}) if wallets else []
    if unknown and busy:
        raise busy  # they may be in `traders`, which could not be read
    if unknown:
        raise ConfigurationError(
            f"not collected: {first_few(unknown, NAMED_FAILURES)}. `polycopy wallets add` adds them"
        )


@click.command(
    "backfill",
    cls=Command,
    needs_data=True,
    examples=(
        "polycopy backfill",
        "polycopy backfill 0xeebde7a0e019a63e6b476eb425505b7b3e6eba30",
        "polycopy backfill --refresh --older-than 20h --for 50m",
    ),
)
@click.argument("addresses", nargs=-1, metavar="[WALLET]...")
@click.option("--refresh", is_flag=True, help="Also fetch the new trades of complete wallets.")
@click.option(
    "--older-than",
    type=Duration(),
    metavar="DURATION",
    help="With --refresh: skip complete wallets whose coverage ended less than this long ago: 20h.",
)
@click.option(
    "--for",
    "seconds",
    type=Duration(),
    metavar="DURATION",
    help="Stop fetching after this long (50m), then load. Exit code 75 if wallets are left.",
)
@talkative
@as_json
def backfill_command(
    addresses: Sequence[str],
    *,
    refresh: bool,
    older_than: int | None,
    seconds: int | None,
    as_json: bool,
) -> None:
    """Fetch every wallet that is not complete, combine, and load.

    If wallets are named, only these are fetched.

    Safe to interrupt and to repeat: only what is not stored yet is fetched. Exit code 1 if a wallet
    failed; the others are loaded. With --for, SIGTERM ends it within ten seconds, with exit code
    75: start it again, it continues.
    """
    if older_than is not None and not refresh:
        raise click.UsageError(
            "--older-than needs --refresh: without it, complete wallets are not fetched"
        )
    deadline = None
    if seconds is not None:
        continues_later()
        deadline = Deadline(seconds)
    with one_line_errors():
        only, refused = given_wallets(addresses)
        if refused:
            raise ConfigurationError("; ".join(refusals(refused)))
        try:
            report = run_backfill(
                settings(),
                refresh=refresh,
                deadline=deadline,
                older_than=older_than or 0,
                only=only,
            )
        except OutOfTime as why:
            say(f"polycopy: {why}, and another command still works on this store: {CONTINUES}")
            sys.exit(TO_BE_CONTINUED)
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        print_report(report)
    sys.exit(exit_code(report))


def run_backfill(
    chosen: Settings,
    *,
    refresh: bool,
    deadline: Deadline | None = None,
    older_than: int = 0,
    only: Sequence[str] = (),
) -> BackfillReport:
    """The backfill, with its progress on standard error."""
    progress = Progress()
    with (
        open_instance(chosen, Needs.WORK, deadline) as instance,
        shown(progress, "backfill"),
    ):
        return backfill(
            instance,
            chosen,
            refresh=refresh,
            progress=progress,
            say=say,
            deadline=deadline,
            older_than=older_than,
            only=only,
        )


def print_report(report: BackfillReport) -> None:
    """Prints the result of a backfill."""
    took = duration(report.seconds) if report.seconds >= _LONG else f"{report.seconds:.1f} s"
    if not report.wallets:
        click.echo("No wallets to fetch: `polycopy wallets add ADDRESS` adds some.")
    elif not report.requests and not report.failures and not report.errors and not report.left:
        are = counted(report.complete, "wallet is", "wallets are")
        click.echo(f"Nothing to fetch: {'all ' * (report.complete > 1)}{are} complete ({took}).")
    else:
        click.echo(
            f"{counted(report.trades_fetched, 'trade')} fetched with"
            f" {counted(report.requests, 'request')} in {took}."
        )
    click.echo(
        f"{report.complete:,} of {counted(report.wallets, 'wallet')} complete,"
        f" {report.failed:,} failed"
        + (
            "."
            if report.table_rows is None
            else f"; {counted(report.table_rows, 'row')} in the table."
        )
    )
    for line in by_reason(report.failures, NAMED_FAILURES):
        say(f"failed: {line}")
    for check in report.failed_checks:
        say(f"check failed: {check}")
    for error in report.errors:
        say(f"polycopy: {error}")
    if report.left or report.to_be_continued:
        left = f"{counted(report.left, 'wallet')} left" if report.left else "the load is left"
        say(f"out of time, {left}: {CONTINUES}")


def exit_code(report: BackfillReport) -> int:
    """0 if everything is complete and in the table; 75 if only time was missing; else 1."""
    if report.to_be_continued:
        return TO_BE_CONTINUED
    left = report.failed or report.remaining or report.failed_checks or report.errors
    return 1 if left else 0
