"""`polycopy backfill`: registers, fetches, combines and loads. It keeps no state of its own."""

import sys
import time
from collections.abc import Sequence

import click
import dagster as dg
import msgspec

from polycopy_assets.cli.backfill_report import (
    CONTINUES,
    NAMED_FAILURES,
    BackfillReport,
    exit_code,
    print_report,
    report_of,
)
from polycopy_assets.cli.common import Command, as_json, one_line_errors, say
from polycopy_assets.cli.display import shown
from polycopy_assets.cli.duration import Duration
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.talk import talkative
from polycopy_assets.cli.usable import Say, check_usable, register_new
from polycopy_assets.cli.wallet_list import given_wallets
from polycopy_assets.cli.work import Work
from polycopy_assets.errors import ConfigurationError, OutOfTime, WarehouseBusy
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.known import named
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.record.lost_record import refuse_lost_record
from polycopy_assets.record.partitions import registered
from polycopy_assets.resources.chosen import open_store
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.store.left_out import refuse_others
from polycopy_assets.system.interrupt import TO_BE_CONTINUED, continues_later
from polycopy_assets.text import first_few
from polycopy_assets.trades.wallet import refusals


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
    works = [
        Work(instance, settings, feed, progress, deadline, older_than, only)
        for feed in named(settings.feeds)
    ]
    for run_id, cause in end_dead_runs(instance).items():
        say(f"run {run_id} was dead, and has been ended: {cause}")
    busy = _begin(instance, settings, say)
    _refuse_unknown(instance, only, busy)
    if busy:
        say(f"{busy}. Registered wallets are fetched now; the table is tried again at the end")
    if refresh and deadline is not None and len(works) > 1:
        # A feed with much to fetch, such as a new one, takes what the others leave of the time.
        in_turn = sorted(works, key=lambda work: work.covered_in_all(), reverse=True)
        for feeds_left, work in zip(range(len(works), 0, -1), in_turn, strict=True):
            work.do("all", share=feeds_left)
    else:
        for work in works:
            work.do("all" if refresh else "remaining")
    first = works[0]
    able = [work for work in works if not work.errors]  # one feed's error holds up no other
    if busy and able and not first.out_of_time:
        with first.noting("`traders` could not be read"):
            if register_new(instance, settings, say):
                for work in able:
                    work.do("remaining")
    return report_of(works, time.monotonic() - started, say)


def _begin(instance: dg.DagsterInstance, settings: Settings, say: Say) -> WarehouseBusy | None:
    """Checks that the work can begin, and registers new wallets; the error if the table is busy."""
    busy = None
    try:
        check_usable(instance, settings)
        register_new(instance, settings, say)
    except WarehouseBusy as error:
        busy = error
    for feed in named(settings.feeds):
        store = open_store(settings, instance, feed)
        refuse_others(store, settings.activity_without if feed is ACTIVITY else ())
        refuse_lost_record(instance, store)
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
@click.option("--refresh", is_flag=True, help="Also fetch what is new of complete wallets.")
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
