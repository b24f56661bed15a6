"""`polycopy maintain`: deletes what Dagster keeps of old runs and no longer counts."""

import click
import msgspec

from polycopy_assets.automation.situation import deciding_runs
from polycopy_assets.cli.common import Command, as_json, one_line_errors
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.retention.maintain import KEEP_DAYS, MOST_DAYS, Freed, maintain
from polycopy_assets.settings.environment import settings
from polycopy_assets.text import counted

_MB = 1e6


@click.command(
    "maintain",
    cls=Command,
    needs_data=True,
    examples=(
        "polycopy maintain --dry-run",
        "polycopy maintain --keep-days 7",
    ),
)
@click.option(
    "--keep-days",
    type=click.IntRange(min=0, max=MOST_DAYS),
    metavar="N",
    default=KEEP_DAYS,
    show_default=True,
    help="Keep everything about runs that ended in the last N days.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@as_json
def maintain_command(*, keep_days: int, dry_run: bool, as_json: bool) -> None:
    """Delete old runs, events and ticks that no longer count.

    The latest record of every wallet stays, and so does everything that a decision depends on. It
    can run beside everything else, and be killed and repeated.
    """
    with one_line_errors():
        chosen = settings()
        # A dry run only reads, and creates no home. An ephemeral instance has nothing to delete.
        reads = dry_run and chosen.instance != "ephemeral"
        with open_instance(chosen, Needs.RECORD if reads else Needs.NOTHING) as instance:
            freed = maintain(
                instance, keep_days=keep_days, kept=lambda: deciding_runs(instance), dry_run=dry_run
            )
    if as_json:
        click.echo(msgspec.json.encode(freed))
    else:
        _print(freed)


def _print(freed: Freed) -> None:
    click.echo("would be deleted" if freed.dry_run else "deleted")
    click.echo(f"  runs           {freed.runs:>12,}")
    click.echo(f"  events         {freed.events:>12,}")
    click.echo(f"  check results  {freed.check_results:>12,}")
    click.echo(f"  ticks          {freed.ticks:>12,}")
    click.echo(f"  files          {freed.files:>12,}  ({freed.file_bytes / _MB:,.1f} MB)")
    if freed.thinned_runs:
        click.echo(
            f"{counted(freed.thinned_runs, 'more run')} lost logs and old events: some record of"
            " theirs is still the latest of its wallet"
        )
    if freed.left:
        click.echo(freed.left)
    after = "" if freed.dry_run else f", after {freed.bytes_after / _MB:,.1f} MB"
    click.echo(f"Dagster's files: before {freed.bytes_before / _MB:,.1f} MB{after}")
