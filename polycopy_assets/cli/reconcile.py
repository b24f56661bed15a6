"""`polycopy reconcile`: looks by itself, and acts as a run of the job `reconcile`."""

import sys
from collections.abc import Sequence
from typing import TextIO

import click
import dagster as dg
import msgspec

from polycopy_assets.assembly import build, settings
from polycopy_assets.backfill import check_usable
from polycopy_assets.cli.common import Command, one_line_errors, say
from polycopy_assets.cli.common import as_json as json_option
from polycopy_assets.cli.witness import print_source, source_json
from polycopy_assets.display import own_stderr, shown
from polycopy_assets.errors import PolycopyError
from polycopy_assets.instance import opened
from polycopy_assets.ledger.findings import KINDS, POLICIES, SETTLED
from polycopy_assets.liveness import end_dead_runs
from polycopy_assets.progress import Progress
from polycopy_assets.reconcile.report import Report, reconcile
from polycopy_assets.resources import open_store, open_table
from polycopy_assets.runs import Runs, why
from polycopy_assets.settings import Settings
from polycopy_assets.sources.open import check_can_count
from polycopy_assets.text import by_reason, quoted

NAMED = 3


@click.command("reconcile", cls=Command)
@click.option("--apply", is_flag=True, help="Act on what is found; otherwise nothing is changed.")
@click.option("--verify", is_flag=True, help="Read every recorded segment again. Slow.")
@click.option(
    "--source",
    is_flag=True,
    help="Ask the source how many trades of each wallet it counts, one request a wallet, and warn "
    "of those that differ; with --apply fetch them again in full.",
)
@click.option("--adopt", type=click.Choice(POLICIES), help="Instead of POLYCOPY_ADOPT.")
@json_option
def reconcile_command(
    *, apply: bool, verify: bool, source: bool, adopt: str | None, as_json: bool
) -> None:
    """Compare record, store, checkpoint and table, wallet by wallet."""
    with one_line_errors():
        report = run_reconcile(settings(), adopt, apply=apply, verify=verify, source=source)
    if as_json:
        click.echo(msgspec.json.encode(_json(report)))
    else:
        _print(report)
        print_source(report.source)
    sys.exit(0 if report.done else 1)


def run_reconcile(
    chosen: Settings, adopt: str | None, *, apply: bool, verify: bool, source: bool = False
) -> Report:
    """A reconciliation with its progress on standard error; raises PolycopyError."""
    if source:
        check_can_count(chosen.source)
    policy = adopt or chosen.adopt
    progress = Progress()
    with (
        opened(chosen.home) as instance,
        own_stderr() as stream,
        shown(progress, "reconcile", stream),
    ):
        if apply or source:
            _end_dead_runs(instance, stream)
        if apply:
            return _act(instance, chosen, policy, progress, verify=verify, source=source)
        store = open_store(chosen, instance, keep=False)
        return reconcile(
            instance,
            store,
            open_table(chosen, instance, store, "reconciliation", keep=False),
            Runs(lambda: build(chosen, progress), progress),
            adopt=policy,
            verify=verify,
            apply=False,
            say=lambda text: None,
            source=source,
        )


def _end_dead_runs(instance: dg.DagsterInstance, stream: TextIO) -> None:
    for run_id, cause in end_dead_runs(instance).items():
        print(f"run {run_id} was left behind and is ended: {cause}", file=stream)


def _act(
    instance: dg.DagsterInstance,
    chosen: Settings,
    policy: str,
    progress: Progress,
    *,
    verify: bool,
    source: bool,
) -> Report:
    check_usable(instance, chosen)
    reports: list[Report] = []
    runs = Runs(lambda: build(chosen, progress, reports.append), progress)
    config = {"apply": True, "verify": verify, "adopt": policy, "source": source}
    result = runs.run(instance, "reconcile", {"reconciliation": config})
    if not reports:
        raise PolycopyError(why(result))
    return reports[0]


def _json(report: Report) -> dict[str, object]:
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


def _print(report: Report) -> None:
    click.echo(f"{'finding':<16}{'wallets':>9}  {'action':<10}what it means")
    for name, wallets in report.counts.items():
        kind = KINDS[name]
        click.echo(f"{name:<16}{wallets:>9,}  {kind.action:<10}{kind.meaning}")
    for name in [name for name in report.counts if name not in SETTLED]:
        some = [item for item in report.findings if item.finding == name]
        for item in some[:NAMED]:
            say(f"{name}: {item.wallet}: {item.why}")
        if len(some) > NAMED:
            say(f"{name}: and {len(some) - NAMED:,} more")
    _name("refused", [f"{quoted(x.text)} in {x.ledger} names no wallet" for x in report.refused])
    _name("broken", [f"{item.name}: {item.why}" for item in report.broken])
    for line in by_reason(((i.wallet, i.reason) for i in report.failures), NAMED):
        say(f"failed: {line}")
    for check in report.failed_checks:
        say(f"check failed: {check}")
    click.echo(_summary(report))


def _name(what: str, lines: Sequence[str]) -> None:
    """Says the first of `lines`, and how many more there are."""
    for line in lines[:NAMED]:
        say(f"{what}: {line}")
    if len(lines) > NAMED:
        say(f"{what}: and {len(lines) - NAMED:,} more")


def _summary(report: Report) -> str:
    asking = sum(n for name, n in report.counts.items() if name not in SETTLED)
    if not asking and report.broken:
        return f"{len(report.broken):,} batches are broken. `--apply` sets them aside."
    if not asking:
        return "Nothing to do."
    if not report.applied:
        return f"{asking:,} wallets ask for action; nothing was changed. `--apply` acts."
    left = sum(n for name, n in report.left.items() if name not in SETTLED)
    return f"{asking:,} wallets asked for action; {left:,} still do, after {report.seconds:.1f} s."
