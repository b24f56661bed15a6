"""What a backfill reports, of each feed and of all together, and how a terminal shows it."""

from collections.abc import Iterable, Sequence

import click
import msgspec

from polycopy_assets.cli.common import say
from polycopy_assets.cli.usable import Say
from polycopy_assets.cli.without_trades import named_without_trades, without_trades
from polycopy_assets.cli.work import Work
from polycopy_assets.feeds.known import named
from polycopy_assets.ledger.failure import Failure, by_reason
from polycopy_assets.system.interrupt import TO_BE_CONTINUED
from polycopy_assets.text import counted, duration

NAMED_FAILURES = 10
CONTINUES = "start it again, it continues"
_LONG = 60


class FeedFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How a backfill left one feed: wallets by state, new rows in the store, rows in the table.

    `table_rows` is None if the table could not be read. `left` are the wallets that were to be
    fetched when the time was up.
    """

    feed: str
    table: str
    complete: int
    failed: int
    remaining: int
    requests: int
    rows_fetched: int
    table_rows: int | None
    left: int


class BackfillReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a backfill.

    `trades_fetched` are new rows in the store, `requests` HTTP requests of all kinds,
    `failed_checks` what the checks of the table found, if it was loaded, `warnings` what those say
    that only warn, and `errors` the other errors: why the fetch ended early, why the table could
    not be loaded. `table_rows` is None if the table cannot be read, or was not, because the process
    was told to stop. `left` are the wallets that were to be fetched when the time was up;
    `to_be_continued` says that the same command has to be started again for them, or for the load,
    and that nothing else is wrong.

    If several feeds are collected, a wallet is complete when it is for each, and has failed when it
    has for any; one that is left in each counts twice in `left`. Everything is counted for all of
    them, except `trades_fetched` and `table_rows`; `feeds` has the figures of each.
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
    warnings: list[str] | msgspec.UnsetType = msgspec.UNSET
    feeds: list[FeedFigures] | msgspec.UnsetType = msgspec.UNSET


def report_of(works: Sequence[Work], seconds: float, say: Say) -> BackfillReport:
    """What the work for all feeds came to in so many `seconds`."""
    wallets, whole = works[0].wallets, [work.complete for work in works]
    figures = [
        _figures(work, sum(wallet in complete for wallet in wallets), len(wallets))
        for work, complete in zip(works, whole, strict=True)
    ]
    empty = without_trades(wallets, whole[0])
    for line in named_without_trades(empty):
        say(line)
    failures = [each for work in works for each in work.failures]
    complete = sum(all(wallet in each for each in whole) for wallet in wallets)
    told_or_late = any(work.to_be_continued for work in works)
    wrong = any((work.errors or work.failed_checks) and not work.told for work in works)
    return BackfillReport(
        wallets=len(wallets),
        complete=complete,
        complete_without_trades=len(empty),
        failed=len({each.wallet for each in failures}),
        remaining=len(wallets) - complete,
        requests=sum(each.requests for each in figures),
        trades_fetched=figures[0].rows_fetched,
        table_rows=figures[0].table_rows,
        seconds=round(seconds, 3),
        failures=failures,
        failed_checks=[check for work in works for check in work.failed_checks],
        errors=[error for work in works for error in work.errors],
        left=sum(each.left for each in figures),
        to_be_continued=told_or_late and not wrong,
        warnings=[each for work in works for each in work.warnings] or msgspec.UNSET,
        feeds=figures if len(figures) > 1 else msgspec.UNSET,
    )


def _figures(work: Work, done: int, wallets: int) -> FeedFigures:
    """What the work of one feed came to, which has `done` so many of its `wallets`."""
    table_rows = work.table_rows()
    return FeedFigures(
        feed=work.feed.name,
        table=work.feed.table,
        complete=done,
        failed=len(work.failures),
        remaining=wallets - done,
        requests=sum(report.requests for report in work.fetched),
        rows_fetched=sum(report.new_rows for report in work.fetched),
        table_rows=table_rows,
        left=work.left,
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
        click.echo(f"{_fetched(report)} with {counted(report.requests, 'request')} in {took}.")
    click.echo(
        f"{report.complete:,} of {counted(report.wallets, 'wallet')} complete,"
        f" {report.failed:,} failed" + (f"; {rows}." if (rows := _rows(report)) else ".")
    )
    for line in by_reason(report.failures, NAMED_FAILURES):
        say(f"failed: {line}")
    for check in report.failed_checks:
        say(f"check failed: {check}")
    for warning in report.warnings or ():
        say(f"warning: {warning}")
    for error in report.errors:
        say(f"polycopy: {error}")
    if report.left or report.to_be_continued:
        say(f"out of time, {_left(report) or 'the load is left'}: {CONTINUES}")


def _left(report: BackfillReport) -> str:
    """The wallets that were to be fetched, of each feed; empty if there are none."""
    if not report.feeds:
        return f"{counted(report.left, 'wallet')} left" if report.left else ""
    of_each = [
        f"{counted(each.left, 'wallet')} of {each.feed}" for each in report.feeds if each.left
    ]
    return f"{', '.join(of_each)} left" if of_each else ""


def _fetched(report: BackfillReport) -> str:
    figures = report.feeds or []
    others = "".join(
        f", {counted(each.rows_fetched, feed.row, feed.rows)}"
        for each in figures[1:]
        for feed in named([each.feed])
    )
    return f"{counted(report.trades_fetched, 'trade')}{others} fetched"


def _rows(report: BackfillReport) -> str:
    """What is in the table, or in each; empty if none could be read."""
    if report.feeds:
        return _in_the_tables(report.feeds)
    if report.table_rows is None:
        return ""
    return f"{counted(report.table_rows, 'row')} in the table"


def exit_code(report: BackfillReport) -> int:
    """0 if everything is complete and in the table; 75 if only time was missing; else 1."""
    if report.to_be_continued:
        return TO_BE_CONTINUED
    left = report.failed or report.remaining or report.failed_checks or report.errors
    return 1 if left else 0


def _in_the_tables(figures: Iterable[FeedFigures]) -> str:
    """`5 rows in trades, 9 rows in activity`, without tables that could not be read."""
    return ", ".join(
        f"{counted(each.table_rows, 'row')} in {each.table}"
        for each in figures
        if each.table_rows is not None
    )
