"""`polycopy reconcile`: checks store and table, then runs the job `reconcile`."""

import sys
from collections.abc import Callable, Mapping, Sequence

import click
import msgspec

from polycopy_assets.cli.common import Command, one_line_errors, say
from polycopy_assets.cli.common import as_json as json_option
from polycopy_assets.cli.display import shown
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.runs import raise_failure, run_job
from polycopy_assets.cli.source import print_source, source_json
from polycopy_assets.cli.talk import talkative
from polycopy_assets.cli.usable import check_usable
from polycopy_assets.errors import (
    ConfigurationError,
    DatabaseBusy,
    PolycopyError,
    Stopped,
    with_notes,
)
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import named
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.guard.ours import Job
from polycopy_assets.ledger.failure import by_reason
from polycopy_assets.ledger.kinds import Adopt, FindingKind
from polycopy_assets.reconcile.report import ReconcileReport
from polycopy_assets.resources.chosen import open_store, open_warehouse_for
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.sources.open import check_can_count
from polycopy_assets.text import counted, first_lines, quoted

NAMED = 3
_LOOKS_AGAIN = 2


@click.command(
    "reconcile",
    cls=Command,
    needs_data=True,
    examples=(
        "polycopy reconcile",
        "polycopy reconcile --apply",
    ),
    page="docs/reconciliation.md",
)
@click.option("--apply", is_flag=True, help="Act on the findings. Otherwise nothing is changed.")
@click.option(
    "--verify",
    is_flag=True,
    help="Also read every recorded segment and compare its checksum. Slow.",
)
@click.option(
    "--source",
    is_flag=True,
    help="Also compare with the source's own count of trades, one request per wallet. With "
    "--apply, wallets that differ are fetched again in full.",
)
@click.option(
    "--adopt",
    type=click.Choice([each.value for each in Adopt]),
    help="What to do with an older job's files; overrides POLYCOPY_ADOPT.",
)
@talkative
@json_option
def reconcile_command(
    *, apply: bool, verify: bool, source: bool, adopt: str | None, as_json: bool
) -> None:
    """Compare record, store, checkpoint and table, wallet by wallet.

    Changes nothing and asks the source for nothing without --apply or --source. Exit code 1 if
    findings are left; each says what --apply does about it.
    """
    with one_line_errors():
        chosen = settings()
        reports, errors = _each(
            named(chosen.feeds),
            lambda feed: run_reconcile(
                chosen,
                adopt,
                apply=apply,
                verify=verify,
                source=source and feed.counted,
                feed=feed,
            ),
        )
    if as_json:
        click.echo(msgspec.json.encode(_all_json(reports, errors)))
    else:
        for feed, report in reports.items():
            if len(chosen.feeds) > 1:
                click.echo(f"{feed.table}:")
            _print(report)
            print_source(report.source)
    for feed, error in errors.items():
        say(f"polycopy: {feed.label}: {with_notes(error)}")
    if any(isinstance(error, ConfigurationError) for error in errors.values()):
        sys.exit(2)
    sys.exit(0 if not errors and all(report.done for report in reports.values()) else 1)


def _each(
    feeds: Sequence[Feed], reconciled: Callable[[Feed], ReconcileReport]
) -> tuple[dict[Feed, ReconcileReport], dict[Feed, PolycopyError]]:
    """What was found for each of `feeds`, or why nothing was: one feed's error hides no other's.

    Raises PolycopyError if there is one feed alone.
    """
    reports: dict[Feed, ReconcileReport] = {}
    errors: dict[Feed, PolycopyError] = {}
    for feed in feeds:
        try:
            reports[feed] = reconciled(feed)
        except PolycopyError as error:
            if len(feeds) == 1:
                raise
            errors[feed] = error
            if isinstance(error, DatabaseBusy | Stopped):
                break  # nothing can be done without the database, or is to be done any more
    return reports, errors


def run_reconcile(
    chosen: Settings,
    adopt: str | None,
    *,
    apply: bool,
    verify: bool,
    source: bool = False,
    feed: Feed = TRADES,
) -> ReconcileReport:
    """A reconciliation of `feed`, as a run of its job; raises PolycopyError."""
    if source:
        check_can_count(chosen.source, feed)
    config = {"apply": apply, "verify": verify, "adopt": adopt or chosen.adopt, "source": source}
    if apply or source or chosen.instance != "ephemeral":
        return _reconciled(chosen, config, feed)
    # It does not wait for a command that works on the store. If that has united or replaced
    # segments since the record was rebuilt here, they seem lost: the record is rebuilt again.
    report = _reconciled(chosen, config, feed)
    for _ in range(_LOOKS_AGAIN):
        if not report.counts.get(FindingKind.GHOST):
            break
        report = _reconciled(chosen, config, feed)
    return report


def _reconciled(chosen: Settings, config: Mapping[str, object], feed: Feed) -> ReconcileReport:
    apply, source = config["apply"], config["source"]
    progress = Progress()
    needs = Needs.WORK if apply or source else Needs.RECORD
    with open_instance(chosen, needs) as instance, shown(progress, "reconcile"):
        if apply or source:
            for run_id, cause in end_dead_runs(instance).items():
                say(f"run {run_id} was dead, and has been ended: {cause}")
        if apply:
            check_usable(instance, chosen)
        else:
            store = open_store(chosen, instance, feed, keep=False)
            open_warehouse_for(chosen, instance, store, feed.table, keep=False)
        result = run_job(instance, chosen, Job.RECONCILE, config, progress, feed=feed)
        raise_failure(instance, result)
        return result.output_for_node(feed.own("reconciliation"))


def _all_json(
    reports: Mapping[Feed, ReconcileReport], errors: Mapping[Feed, PolycopyError]
) -> dict[str, object]:
    """One object: what there is of the first feed, and below `feeds` of the others."""
    first = next((_json(each) for feed, each in reports.items() if feed.bare), {})
    others = {feed.name: _json(each) for feed, each in reports.items() if not feed.bare}
    failed = [f"{feed.label}: {with_notes(error)}" for feed, error in errors.items()]
    return {
        **first,
        **({"feeds": others} if others else {}),
        **({"errors": failed} if failed else {}),
    }


def _json(report: ReconcileReport) -> dict[str, object]:
    return {
        "counts": report.counts,
        "findings": report.findings,
        "refused": report.refused,
        "applied": report.applied,
        "left": report.left,
        "broken_batches": [{"name": item.name, "why": item.why} for item in report.broken],
        "failures": report.failures,
        "failed_checks": report.failed_checks,
        "seconds": report.seconds,
        "source": report.source and source_json(report.source),
    }


def _print(report: ReconcileReport) -> None:
    click.echo(f"{'finding':<16}{'wallets':>9}  {'action':<10}what it means")
    for kind, wallets in report.counts.items():
        click.echo(f"{kind:<16}{wallets:>9,}  {kind.action:<10}{kind.meaning}")
    for kind in [kind for kind in report.counts if not kind.settled]:
        some = [item for item in report.findings if item.finding is kind]
        _name(kind, [f"{item.wallet}: {item.why}" for item in some])
    _name("refused", [f"{quoted(x.text)} in {x.ledger} names no wallet" for x in report.refused])
    _name("broken", [f"{item.name}: {item.why}" for item in report.broken])
    for line in by_reason(report.failures, NAMED):
        say(f"failed: {line}")
    for check in report.failed_checks:
        say(f"check failed: {check}")
    click.echo(_summary(report))


def _name(what: str, lines: Sequence[str]) -> None:
    """Prints the first of `lines`, and how many more there are."""
    for line in first_lines(lines, NAMED, f"{what}: "):
        say(line)


def _summary(report: ReconcileReport) -> str:
    asking = sum(n for kind, n in report.counts.items() if not kind.settled)
    if not asking and report.broken:
        broken = counted(len(report.broken), "batch is", "batches are")
        them = "it" if len(report.broken) == 1 else "them"
        return f"{broken} broken. `--apply` sets {them} aside."
    if not asking:
        return "Nothing to do."
    if not report.applied:
        need = counted(asking, "wallet needs", "wallets need")
        return f"{need} action; nothing was changed. `--apply` acts."
    left = sum(n for kind, n in report.left.items() if not kind.settled)
    still = "still does" if left == 1 else "still do"
    needed = counted(asking, "wallet")
    return f"{needed} needed action; {left:,} {still}, after {report.seconds:.1f} s."
